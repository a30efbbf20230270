"""Tables as kubectl prints them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kaito_laptop.cli.table import age, columns_of, find, row, table
from kaito_laptop.core.package_data import definitions

WORKSPACES = next(each for each in definitions() if each["spec"]["names"]["kind"] == "Workspace")
NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
WORKSPACE = {
    "metadata": {"name": "workspace-tuning-phi-3", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "resource": {"instanceType": "Standard_NC6s_v3"},
    "status": {
        "conditions": [
            {"type": each, "status": "True"}
            for each in ("ResourceReady", "InferenceReady", "WorkspaceReady")
        ]
    },
}


def test_a_workspace_is_printed_as_the_quick_start_shows_it() -> None:
    columns = columns_of("Workspace", WORKSPACES)
    assert table(columns, [row(WORKSPACE, columns, NOW)]).splitlines() == [
        "NAME                     INSTANCE           RESOURCEREADY   INFERENCEREADY   "
        "WORKSPACEREADY   AGE",
        "workspace-tuning-phi-3   Standard_NC6s_v3   True            True             "
        "True             10m",
    ]


def test_the_wide_form_has_the_columns_of_lower_priority() -> None:
    wide = [each.title for each in columns_of("Workspace", WORKSPACES, wide=True)]
    assert {"Reason", "Message"} <= set(wide)


def test_what_is_not_there_is_empty() -> None:
    columns = columns_of("Workspace", WORKSPACES)
    assert row({"metadata": {"name": "w"}}, columns, NOW) == ["w", "", "", "", "", ""]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".spec.a", 1),
        (".spec.missing.deeper", None),
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        (".status.conditions[?(@.type=='Ready')].status", "True"),
        ('.status.conditions[?(@.type=="Gone")].status', None),
        ('.spec.requirements[?(@.key=="node.kubernetes.io/instance-type")].values[0]', "x"),
        (".spec.list[5]", None),
    ],
)
def test_the_path_of_a_column(path: Any, value: Any) -> None:
    manifest = {
        "spec": {
            "a": 1,
            "list": [1],
            "requirements": [{"key": "node.kubernetes.io/instance-type", "values": ["x"]}],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert find(manifest, path) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600 + 600, "3h10m"),
        (40 * 3600, "40h"),
        (3 * 86400, "3d"),
        (3 * 86400 + 7200, "3d2h"),
        (30 * 86400, "30d"),
    ],
)
def test_the_age_is_written_as_kubectl_writes_it(seconds: Any, text: Any) -> None:
    assert age(timedelta(seconds=seconds)) == text
