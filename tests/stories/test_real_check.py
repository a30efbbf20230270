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
class CheckFixture:
    story: ProcessStory
    web: str

    def workspace(self, name: str, **changes: Any) -> Manifest:
        """A Workspace whose inputs are good but for the changes."""
        tuning = {
            "preset": {"name": "tiny-demo"},
            "input": {"urls": [f"{self.web}/good.parquet?download=true"]},
            "output": {
                "image": f"{self.story.registry.address}/adapters/{name}:0.0.1",
                "imagePushSecret": "push",
            },
        }
        base = merged(merged(tuning_workspace(), OURS), {"tuning": tuning})
        return merged(merged(base, {"metadata": {"name": name}}), changes)

    def retry(self, name: str) -> None:
        """Run the check again, as its message says."""
        again = {"kaito.sh/retry": "1"}
        self.story.edit(
            "Workspace",
            name,
            lambda item: item["metadata"].setdefault("annotations", {}).update(again),
        )

    def use(self, name: str, url: str) -> None:
        """Take other data."""
        self.story.edit("Workspace", name, lambda item: item["tuning"]["input"].update(urls=[url]))


@pytest.fixture(scope="module")
def checks(
    processes: ProcessStory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CheckFixture]:
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
        yield CheckFixture(processes, web)


DATA = [
    ("not-found", "nothing-here.parquet", "DataUnreachable", "404"),
    ("broken", "broken.parquet", "DataUnreadable", "broken.parquet"),
    ("a-web-page", "page.parquet", "DataUnreadable", "page.parquet"),
    ("wrong-columns", "columns.parquet", "DataColumnsInvalid", "frage"),
    ("no-rows", "no-rows.parquet", "DataEmpty", "no-rows.parquet"),
    ("empty-file", "empty.parquet", "DataEmpty", "empty.parquet"),
]


def checked(checks: CheckFixture, name: str) -> None:
    """The remedy worked: the check is done and a node is asked for."""
    checks.story.patiently(lambda: checks.story.is_true(name, "InputsChecked"))
    checks.story.delete("Workspace", name)


@pytest.mark.parametrize(("name", "file", "reason", "words"), DATA, ids=[row[0] for row in DATA])
def test_data_that_is_no_good_costs_no_machine_and_other_data_goes_on(
    checks: CheckFixture, name: str, file: str, reason: str, words: str
) -> None:
    checks.story.apply(checks.workspace(name, tuning={"input": {"urls": [f"{checks.web}/{file}"]}}))
    assert words in checks.story.says(reason, name)
    assert machines_of(checks, name) == []
    checks.use(name, f"{checks.web}/good.jsonl")
    checked(checks, name)


def test_a_wrong_password_is_told_by_the_check_and_costs_no_machine(
    checks: CheckFixture,
) -> None:
    story = checks.story
    story.apply(story.push_secret("other", "not-the-password"))
    story.apply(checks.workspace("denied", tuning={"output": {"imagePushSecret": "other"}}))
    assert story.registry.address in story.says("PushDenied", "denied")
    assert machines_of(checks, "denied") == []
    story.delete("Secret", "other")
    story.apply(story.push_secret("other"))
    checks.retry("denied")
    checked(checks, "denied")
    written = story.logs() + json.dumps(story.list("Workspace"))
    for secret in ("not-the-password", story.password):
        assert secret not in written


def test_a_missing_secret_is_told_and_may_come_later(checks: CheckFixture) -> None:
    story = checks.story
    story.apply(checks.workspace("no-secret", tuning={"output": {"imagePushSecret": "later"}}))
    assert "secret docker-registry later" in story.says("CredentialsMissing", "no-secret")
    story.apply(story.push_secret("later"))
    checked(checks, "no-secret")


def test_a_registry_that_is_down_is_told_and_another_one_goes_on(
    checks: CheckFixture,
) -> None:
    story = checks.story
    nowhere = "127.0.0.1:9/adapters/down:0.0.1"
    story.apply(checks.workspace("down", tuning={"output": {"image": nowhere}}))
    assert "127.0.0.1:9" in story.says("RegistryUnreachable", "down")
    image = f"{story.registry.address}/adapters/down:0.0.1"
    story.edit("Workspace", "down", lambda item: item["tuning"]["output"].update(image=image))
    checked(checks, "down")


def machines_of(checks: CheckFixture, name: str) -> list[str]:
    """Names of the Machines of a Workspace."""
    found = checks.story.list("Machine", {"kaito.sh/workspace": name})
    return [each["metadata"]["name"] for each in found]
