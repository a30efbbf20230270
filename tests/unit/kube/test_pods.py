from __future__ import annotations

from typing import Any

import pytest

from kaito_hooks.api.pods import has_fallen_silent


def pod(ready: str, since: str, *containers: tuple[bool, bool, str]) -> dict[str, Any]:
    """A pod whose condition Ready is as given since then; containers are (started, ready, startedAt)."""
    return {
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
            "containerStatuses": [
                {
                    "started": started,
                    "ready": is_ready,
                    "state": {"running": {"startedAt": at}} if at else {"waiting": {}},
                }
                for started, is_ready, at in containers
            ],
        }
    }


EARLY, LATER, LATEST = "2026-11-02T09:30:00Z", "2026-11-02T09:34:10Z", "2026-11-02T11:02:45Z"


@pytest.mark.parametrize(
    ("case", "silent", "found"),
    [
        ("it answers", False, pod("True", LATER, (True, True, EARLY))),
        ("it has answered and stopped", True, pod("False", LATER, (True, False, EARLY))),
        ("it still loads", False, pod("False", EARLY, (False, False, LATER))),
        ("loaded, its first readiness probe is due", False, pod("False", EARLY, (True, False, LATER))),
        ("it crashed and loads again", False, pod("False", LATER, (False, False, LATEST))),
        ("it crashed and waits", False, pod("False", LATER, (False, False, ""))),
        ("another container is silent", True, pod("False", LATER, (True, True, EARLY), (True, False, EARLY))),
        ("nothing is known of it", False, {}),
        ("its conditions are no list", False, {"status": {"conditions": "Ready"}}),
    ],
)  # fmt: skip
def test_a_pod_that_was_ready_and_is_not_has_fallen_silent(
    case: str, silent: bool, found: dict[str, Any]
) -> None:
    assert has_fallen_silent(found) is silent, case
