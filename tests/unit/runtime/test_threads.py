"""How many threads torch gets from the limit of the pod, as its cgroup has it (cpu.max: quota and period in µs)."""

import os
from pathlib import Path

import pytest

from kaito_runtime.pod import threads


@pytest.mark.parametrize(
    ("limit", "cpu_max", "granted"),
    [
        ("24 processors, as on Standard_NC24ads_A100_v4", "2400000 100000\n", 24),
        ("8, where the size is not listed", "800000 100000\n", 8),
        ("1, as the check has", "100000 100000\n", 1),
        ("1500m", "150000 100000\n", 2),
        ("250m", "25000 100000\n", 1),
        ("none", "max 100000\n", 32),
        ("more than the node has", "9600000 100000\n", 32),
    ],
)
def test_threads_follow_the_limit_on_processors(
    limit: str, cpu_max: str, granted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)
    file = tmp_path / "cpu.max"
    file.write_text(cpu_max)
    assert threads.granted_processors(file) == granted


def test_without_cgroup_v2_the_processors_of_the_machine_count(tmp_path: Path) -> None:
    assert threads.granted_processors(tmp_path / "cpu.max") == len(os.sched_getaffinity(0))
