"""What the registry's routes need of HTTP: whole answers, errors in the specification's form, bodies as files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

BLOCK_BYTES = 1024 * 1024


class RegistryHttp(BaseHTTPRequestHandler):
    """Keeps count of the body that is still to be read, since a connection is used again."""

    protocol_version = "HTTP/1.1"
    server_version = "kaito-registry"
    # Headers and body leave in one packet each; without this they wait for each other's ACK.
    disable_nagle_algorithm = True

    def begin(self) -> None:
        """Take note of the request's body."""
        self._body_left = int(self.headers.get("Content-Length") or 0)
        self._is_chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the log belongs to the pods."""

    def reply(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer; what is left of the request's body is read first."""
        self.drain()
        self.head(status, headers or {}, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send an error in the specification's form."""
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.reply(status, body, {"Content-Type": "application/json", **(headers or {})})

    def head(self, status: int, headers: Mapping[str, str], length: int) -> None:
        """Send the head of an answer whose body has `length` bytes."""
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for key, value in headers.items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def read_body(self, limit: int) -> bytes:
        """Return the body, or so many bytes of it."""
        body = self.rfile.read(min(self._body_left, limit))
        self._body_left -= len(body)
        return body

    def append_body(self, path: Path) -> bool:
        """Append the body to a file; what arrived before a cut stays, for the client to resume."""
        if self._is_chunked:
            self.error(411, "SIZE_INVALID", "write a Content-Length")
            self.close_connection = True
            return False
        with path.open("ab") as file:
            while self._body_left:
                block = self.rfile.read1(min(self._body_left, BLOCK_BYTES))
                if not block:
                    self.close_connection = True
                    return False
                file.write(block)
                self._body_left -= len(block)
        return True

    def drain(self) -> None:
        """Read what is left of the body, or give the connection up."""
        if self._body_left > BLOCK_BYTES or self._is_chunked:
            self.close_connection = True  # cheaper than to read what nobody wants
            return
        self.rfile.read(self._body_left)
        self._body_left = 0

    def send_range(self, descriptor: int, first: int, end: int) -> None:
        """Send the bytes of an open file from `first` to before `end`."""
        while first < end:
            block = os.pread(descriptor, min(BLOCK_BYTES, end - first), first)
            self.wfile.write(block)
            first += len(block)
