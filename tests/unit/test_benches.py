"""The benches are found where `make bench-*` and their own servers look for them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPLICATION = re.compile(r'"([a-z_.]+):([a-z_]+)\(')
COMMAND = re.compile(r"-m (bench(?:\.[a-z_]+)*)")
SOURCES = sorted([*(ROOT / "bench").rglob("*.py"), ROOT / "Makefile"])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_what_a_bench_starts_is_there(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    names = [found[1] for found in APPLICATION.finditer(text)]
    names += [found[1] for found in COMMAND.finditer(text)]
    for name in names:
        assert importlib.util.find_spec(name), f"{name} not found"
