"""Weights from a hub that runs on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.conftest import Web

Pull = Callable[..., tuple[subprocess.CompletedProcess[str], dict[str, Any]]]

SHA = "a" * 40
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"x" * 2000,
    "pytorch_model.bin": b"pickled",
    "README.md": b"# read me",
}


@pytest.fixture
def hub(web: Web) -> str:
    """Make the web server answer as the hub does for one model."""
    about = {"id": "org/model", "sha": SHA, "private": False, "tags": [], "downloads": 0,
             "siblings": [{"rfilename": name} for name in FILES]}  # fmt: skip
    tree = [
        {"type": "file", "path": name, "size": len(body), "oid": f"{number:040x}"}
        for number, (name, body) in enumerate(FILES.items())
    ]
    for revision in ("main", SHA):
        web.files[f"/api/models/org/model/revision/{revision}"] = json.dumps(about).encode()
        web.files[f"/api/models/org/model/tree/{revision}"] = json.dumps(tree).encode()
    for name, body in FILES.items():
        web.files[f"/org/model/resolve/{SHA}/{name}"] = body
    web.headers = {"X-Repo-Commit": SHA}
    return web.url("")


@pytest.fixture
def pull(tmp_path: Path) -> Pull:
    def call(
        endpoint: str, repository: str = "org/model", revision: str = "main", **environment: str
    ) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        line = [sys.executable, "-m", "kaito_runtime.transfer.pull", "weights"]
        line += ["--repository", repository, "--revision", revision, "--to", "/weights"]
        done = subprocess.run(
            line,
            env={
                **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
                "HF_ENDPOINT": endpoint,
                "HF_HOME": str(tmp_path / "home"),
                "KAITO_ROOT": str(tmp_path),
                "PYTHONPATH": ":".join(sys.path),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done, json.loads((tmp_path / "dev/termination-log").read_text())

    return call


def test_a_model_is_pulled_without_what_is_not_loaded(hub: str, pull: Pull, tmp_path: Path) -> None:
    done, message = pull(hub)
    assert done.returncode == 0, done.stderr
    assert message["files"] == 2
    names = sorted(path.name for path in (tmp_path / "weights").glob("[!.]*"))
    assert names == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("repository", "revision", "endpoint"),
    [
        ("org/absent", "main", ""),
        ("no name", "main", ""),
        ("org/model", "main", "http://127.0.0.1:1"),
    ],
)
def test_weights_that_the_hub_does_not_give_are_unreachable(
    hub: str, pull: Pull, repository: str, revision: str, endpoint: str
) -> None:
    secret = "hf_" + "s" * 30
    done, message = pull(endpoint or hub, repository, revision, HF_TOKEN=secret)
    assert done.returncode == (75 if endpoint else 1)  # 75: it may pass
    assert message["reason"] == "WeightsUnreachable", done.stderr
    assert "Traceback" not in done.stderr
    assert secret not in done.stdout + done.stderr + message["message"]


def test_the_hubs_client_keeps_no_second_copy_in_the_scratch_folder(
    hub: str, tmp_path: Path
) -> None:
    program = (
        "import os, pathlib; from kaito_runtime.transfer.hub import download_model; "
        "download_model('org/model', 'main', pathlib.Path('weights')); "
        "print(os.environ['HF_XET_CHUNK_CACHE_SIZE_BYTES'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment.pop("HF_XET_CHUNK_CACHE_SIZE_BYTES", None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "scratch")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0"]
    kept = sum(path.stat().st_size for path in (tmp_path / "scratch").rglob("*") if path.is_file())
    assert kept < len(FILES["model.safetensors"])
