"""The check with real programs, data, registry and Secrets: each refusal, and its remedy carried out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from kaito_laptop.core.cluster import Manifest

from tests.harness.builders import merged, tuning_workspace
from tests.harness.process_story import ProcessStory, web_server
from tests.harness.story import OURS

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Question {i}?"},
            {"role": "assistant", "content": f"Answer {i}."},
        ]
    }
    for i in range(20)
]


@dataclass
class Lab:
    world: ProcessStory
    web: str

    def workspace(self, name: str, **changes: Any) -> Manifest:
        """A Workspace whose inputs are good but for the changes."""
        tuning = {
            "preset": {"name": "tiny-demo"},
            "input": {"urls": [f"{self.web}/good.parquet?download=true"]},
            "output": {
                "image": f"{self.world.registry.address}/adapters/{name}:0.0.1",
                "imagePushSecret": "push",
            },
        }
        base = merged(merged(tuning_workspace(), OURS), {"tuning": tuning})
        return merged(merged(base, {"metadata": {"name": name}}), changes)

    def retry(self, name: str) -> None:
        """Run the check again, as its message says."""
        again = {"kaito.sh/retry": "1"}
        self.world.edit(
            "Workspace",
            name,
            lambda item: item["metadata"].setdefault("annotations", {}).update(again),
        )

    def use(self, name: str, url: str) -> None:
        """Take other data."""
        self.world.edit("Workspace", name, lambda item: item["tuning"]["input"].update(urls=[url]))


@pytest.fixture(scope="module")
def lab(processes: ProcessStory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder: Path = tmp_path_factory.mktemp("web")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "good.parquet")
    columns = [{"frage": "Was?", "antwort": "Das."}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(columns), folder / "columns.parquet")
    (folder / "empty.parquet").write_bytes(b"")
    no_rows = pyarrow.Table.from_pylist(ROWS).slice(0, 0)
    pyarrow.parquet.write_table(no_rows, folder / "no-rows.parquet")
    (folder / "broken.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-40])
    (folder / "page.parquet").write_text(
        "<!DOCTYPE html><html><body>Sign in</body></html>", encoding="utf-8"
    )
    (folder / "good.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    with web_server(folder) as web:
        processes.apply(processes.push_secret())
        yield Lab(processes, web)


DATA = [
    ("not-found", "nothing-here.parquet", "DataUnreachable", "404"),
    ("broken", "broken.parquet", "DataUnreadable", "broken.parquet"),
    ("a-web-page", "page.parquet", "DataUnreadable", "page.parquet"),
    ("wrong-columns", "columns.parquet", "DataColumnsInvalid", "frage"),
    ("no-rows", "no-rows.parquet", "DataEmpty", "no-rows.parquet"),
    ("empty-file", "empty.parquet", "DataEmpty", "empty.parquet"),
]


def checked(lab: Lab, name: str) -> None:
    """The remedy worked: the check is done and a node is asked for."""
    lab.world.patiently(lambda: lab.world.is_true(name, "InputsChecked"))
    lab.world.delete("Workspace", name)


@pytest.mark.parametrize(("name", "file", "reason", "words"), DATA, ids=[row[0] for row in DATA])
def test_data_that_is_no_good_costs_no_machine_and_other_data_goes_on(
    lab: Lab, name: str, file: str, reason: str, words: str
) -> None:
    lab.world.apply(lab.workspace(name, tuning={"input": {"urls": [f"{lab.web}/{file}"]}}))
    assert words in lab.world.says(reason, name)
    assert machines_of(lab, name) == []
    lab.use(name, f"{lab.web}/good.jsonl")
    checked(lab, name)


def test_a_wrong_password_is_told_by_the_check_and_costs_no_machine(lab: Lab) -> None:
    world = lab.world
    world.apply(world.push_secret("other", "not-the-password"))
    world.apply(lab.workspace("denied", tuning={"output": {"imagePushSecret": "other"}}))
    assert world.registry.address in world.says("PushDenied", "denied")
    assert machines_of(lab, "denied") == []
    world.delete("Secret", "other")
    world.apply(world.push_secret("other"))
    lab.retry("denied")
    checked(lab, "denied")
    written = world.logs() + json.dumps(world.list("Workspace"))
    for secret in ("not-the-password", world.password):
        assert secret not in written


def test_a_missing_secret_is_told_and_may_come_later(lab: Lab) -> None:
    world = lab.world
    world.apply(lab.workspace("no-secret", tuning={"output": {"imagePushSecret": "later"}}))
    assert "secret docker-registry later" in world.says("CredentialsMissing", "no-secret")
    world.apply(world.push_secret("later"))
    checked(lab, "no-secret")


def test_a_registry_that_is_down_is_told_and_another_one_goes_on(lab: Lab) -> None:
    world = lab.world
    nowhere = "127.0.0.1:9/adapters/down:0.0.1"
    world.apply(lab.workspace("down", tuning={"output": {"image": nowhere}}))
    assert "127.0.0.1:9" in world.says("RegistryUnreachable", "down")
    image = f"{world.registry.address}/adapters/down:0.0.1"
    world.edit("Workspace", "down", lambda item: item["tuning"]["output"].update(image=image))
    checked(lab, "down")


def machines_of(lab: Lab, name: str) -> list[str]:
    """Names of the Machines of a Workspace."""
    found = lab.world.list("Machine", {"kaito.sh/workspace": name})
    return [each["metadata"]["name"] for each in found]
