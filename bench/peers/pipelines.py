"""A server with one pipeline of transformers and a thread for each request, as Kaito v0.3.0 serves:

python -m bench.peers.pipelines WEIGHTS PORT
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    from kaito_runtime.models import load

    load.quiet()
    weights, port = Path(sys.argv[1]), int(sys.argv[2])
    model: Any = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(weights)
    answer: Any = pipeline("text-generation", model=model, tokenizer=tokenizer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sequences = answer(body["prompt"], **body["generate_kwargs"])
            self._send({"Result": sequences[0]["generated_text"]})

        def do_GET(self) -> None:
            self._send({"status": "Healthy"})

        def _send(self, content: object) -> None:
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
