"""Names of objects are names of files on this computer; none leads out of the state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaito_laptop.core.log_files import log_file
from kaito_laptop.kubelet.folders import Folders
from kaito_laptop.kubelet.sources import Sources

OUT = "../../../../mine"


class OneFile(Sources):
    """Every volume holds one file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def files(self, pod: dict[str, Any], volume: dict[str, Any]) -> dict[str, bytes]:
        return {self.path: b"of the pod"}


def pod(**names: str) -> dict[str, Any]:
    container = {
        "name": names.get("container", "main"),
        "terminationMessagePath": names.get("message", "/dev/termination-log"),
        "volumeMounts": [
            {
                "name": names.get("volume", "data"),
                "mountPath": names.get("mount", "/data"),
                "subPath": names.get("sub", ""),
            }
        ],
    }
    return {
        "metadata": {
            "name": names.get("pod", "p"),
            "namespace": names.get("namespace", "default"),
            "uid": names.get("uid", "1"),
        },
        "spec": {"containers": [container], "volumes": [{"name": names.get("volume", "data")}]},
    }


@pytest.mark.parametrize(
    "field", ["container", "message", "volume", "mount", "sub", "pod", "namespace", "uid", "file"]
)
def test_no_name_leads_out_of_the_state_folder(tmp_path: Path, field: str) -> None:
    mine, state = tmp_path / "mine", tmp_path / "a/state"
    mine.mkdir()
    (mine / "main.log").write_text("mine", encoding="utf-8")
    made = pod(**{field: OUT})
    folders = Folders(state, OneFile(OUT if field == "file" else "key"))
    folders.make_volumes(made)
    root = folders.make_root(made, made["spec"]["containers"][0])
    folders.new_log(made, made["spec"]["containers"][0]["name"]).touch()
    for path in root.rglob("*"):
        assert path.resolve().is_relative_to(state)
    folders.remove(made)
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(state)]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in outside) == [
        "a",
        "mine",
        "mine/main.log",
    ]
    assert (mine / "main.log").read_text(encoding="utf-8") == "mine"


def test_a_link_that_a_run_left_in_the_place_of_its_message_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    made = pod()
    folders = Folders(tmp_path / "state", OneFile("key"))
    folders.make_volumes(made)
    root = folders.make_root(made, made["spec"]["containers"][0])
    (root / "dev/termination-log").unlink()
    (root / "dev/termination-log").symlink_to(tmp_path / "mine")
    folders.make_root(made, made["spec"]["containers"][0])
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "mine"


def test_logs_are_found_by_namespace_pod_and_container(tmp_path: Path) -> None:
    assert log_file(tmp_path, "ml", "base-1", "main") == tmp_path / "logs/ml/base-1/main.log"
