"""The model server as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kaito_runtime import serve


@contextmanager
def server_process(
    root: Path, module: str, *flags: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Yield a server that is ready, and what it writes from then on; it is gone at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *flags],
        env={**os.environ, "KAITO_ROOT": str(root), "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        try:
            while line := process.stdout.readline():
                if serve.READY in line:
                    break
            yield process, process.stdout
        finally:
            process.kill()
