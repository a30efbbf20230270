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

from kaito_laptop.cluster import Manifest

from support.builders import merged, tuning_workspace
from support.real import RealLaptop, real_laptop, web_server
from support.story import OURS

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
    laptop: RealLaptop
    web: str

    def workspace(self, name: str, **changes: Any) -> Manifest:
        base = merged(
            tuning_workspace(),
            {
                **OURS,
                "tuning": {
                    "preset": {"name": "tiny-demo"},
                    "input": {"urls": [f"{self.web}/good.parquet?download=true"]},
                    "output": {
                        "image": f"{self.laptop.registry}/adapters/{name}:0.0.1",
                        "imagePushSecret": "push",
                    },
                },
            },
        )
        return merged(merged(base, {"metadata": {"name": name, "namespace": "default"}}), changes)

    def retry(self, name: str) -> None:
        self.laptop.edit(
            "Workspace",
            name,
            lambda item: (
                item["metadata"].setdefault("annotations", {}).update({"kaito.sh/retry": "1"})
            ),
        )

    def use(self, name: str, url: str) -> None:
        self.laptop.edit("Workspace", name, lambda item: item["tuning"]["input"].update(urls=[url]))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
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
    with web_server(folder) as web, real_laptop(tmp_path_factory.mktemp("laptop")) as laptop:
        laptop.apply(laptop.push_secret())
        yield Lab(laptop, web)


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
    lab.laptop.wait_for(name, "InputsChecked")
    lab.laptop.delete("Workspace", name)


@pytest.mark.parametrize(("name", "file", "reason", "words"), DATA, ids=[row[0] for row in DATA])
def test_data_that_is_no_good_costs_no_machine_and_other_data_goes_on(
    lab: Lab, name: str, file: str, reason: str, words: str
) -> None:
    lab.laptop.apply(lab.workspace(name, tuning={"input": {"urls": [f"{lab.web}/{file}"]}}))
    assert words in lab.laptop.wait_reason(name, reason)
    assert machines_of(lab, name) == []
    lab.use(name, f"{lab.web}/good.jsonl")
    checked(lab, name)


def wrong_password(lab: Lab) -> Manifest:
    return lab.laptop.push_secret("other", "not-the-password")


def test_a_wrong_password_is_told_by_the_check_and_costs_no_machine(lab: Lab) -> None:
    lab.laptop.apply(
        wrong_password(lab),
        lab.workspace("denied", tuning={"output": {"imagePushSecret": "other"}}),
    )
    message = lab.laptop.wait_reason("denied", "PushDenied")
    assert lab.laptop.registry in message
    assert machines_of(lab, "denied") == []
    lab.laptop.delete("Secret", "other")
    lab.laptop.apply(lab.laptop.push_secret("other"))
    lab.retry("denied")
    checked(lab, "denied")
    written = lab.laptop.logs() + json.dumps(lab.laptop.list("Workspace"))
    for secret in ("not-the-password", lab.laptop.laptop.password):
        assert secret not in written


def test_a_missing_secret_is_told_and_may_come_later(lab: Lab) -> None:
    lab.laptop.apply(lab.workspace("no-secret", tuning={"output": {"imagePushSecret": "later"}}))
    lab.laptop.wait_reason("no-secret", "CredentialsInvalid")
    lab.laptop.apply(lab.laptop.push_secret("later"))
    lab.retry("no-secret")
    checked(lab, "no-secret")


def test_a_registry_that_is_down_is_told_and_another_one_goes_on(lab: Lab) -> None:
    nowhere = "127.0.0.1:9/adapters/down:0.0.1"
    lab.laptop.apply(lab.workspace("down", tuning={"output": {"image": nowhere}}))
    assert "127.0.0.1:9" in lab.laptop.wait_reason("down", "RegistryUnreachable")
    image = f"{lab.laptop.registry}/adapters/down:0.0.1"
    lab.laptop.edit("Workspace", "down", lambda item: item["tuning"]["output"].update(image=image))
    checked(lab, "down")


def machines_of(lab: Lab, name: str) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in lab.laptop.list("Machine")
        if each["metadata"]["labels"]["kaito.sh/workspace"] == name
    ]
