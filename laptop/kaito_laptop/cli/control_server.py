"""What another terminal may ask a running `kaito up`: objects and their tables, as JSON.

`<state>/up.json` (readable by its owner alone) says where it listens, and the token that it wants:
Secrets are among the objects.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.state_folder import WAY_IN

ANSWER_SECONDS = 5.0
Ask = Callable[[Mapping[str, Any]], Any]


class ControlServer:
    """Listens on loopback and answers in the event loop's thread."""

    def __init__(self, state: Path, event_loop: EventLoop, answer: Ask) -> None:
        self._file = state / WAY_IN
        self._token = secrets.token_urlsafe(24)
        self._event_loop = event_loop
        self._answer = answer
        handler = type("Handler", (_Handler,), {"control": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True, name="control"
        )

    def __enter__(self) -> Self:
        """Begin to listen and say where."""
        self._thread.start()
        where = {"port": self._server.server_address[1], "token": self._token, "pid": os.getpid()}
        self._file.touch(mode=0o600)
        self._file.write_text(json.dumps(where), encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        """End, and take back where it was."""
        self._file.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()

    def is_allowed(self, token: str) -> bool:
        """Whether the caller has read the state folder."""
        return hmac.compare_digest(token.encode(), f"Bearer {self._token}".encode())

    def reply(self, question: Mapping[str, Any]) -> Any:
        """Let the event loop's thread answer."""
        answers: queue.Queue[Any] = queue.Queue()

        def act() -> None:
            answers.put(self._answer(question))

        self._event_loop.post(act)
        return answers.get(timeout=ANSWER_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    control: ControlServer

    def do_POST(self) -> None:
        """Answer one question."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.control.is_allowed(self.headers.get("Authorization", "")):
            self.send_error(403)
            return
        try:
            answer = json.dumps(self.control.reply(json.loads(body))).encode()
        except queue.Empty:
            # The models of a demo are made before the event loop runs.
            self.send_error(503)
            return
        except ValueError:
            self.send_error(400)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
