"""One engine of each kind for all tests, and the reference that they are held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kaito_runtime.pod import threads
from kaito_runtime.serving.engine import ChatEngine

from tests.contract.serving.engines import ENGINES, EngineKind
from tests.harness.engine_client import EngineClient
from tests.harness.lone_generate import LoneGenerate
from tests.harness.tiny_adapter import make_tiny_adapter
from tests.harness.tiny_model import make_tiny_model

threads.prepare()  # before anything imports torch

KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"r": 4},
    "rslora": {"r": 2, "use_rslora": True, "target_modules": ["o_proj", "down_proj"]},
}
"""Adapters by their names, as arguments of peft's LoraConfig."""


@dataclass(frozen=True)
class Served:
    """An engine, and a client that blocks."""

    name: str
    kind: EngineKind
    engine: ChatEngine
    client: EngineClient


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("contract"), head_size=32)


@pytest.fixture(scope="session")
def adapters(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: make_tiny_adapter(weights, folder / name, seed, **lora)
        for seed, (name, lora) in enumerate(KINDS.items())
    }


@pytest.fixture(scope="session")
def reference(weights: Path, adapters: dict[str, Path]) -> LoneGenerate:
    return LoneGenerate(weights, adapters)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tell each test of the engines that it is for."""
    if "served" in metafunc.fixturenames:
        needs_model = "model" in metafunc.fixturenames
        names = [name for name, kind in ENGINES.items() if kind.has_model or not needs_model]
        metafunc.parametrize("served", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def served(
    request: pytest.FixtureRequest, weights: Path, adapters: dict[str, Path]
) -> Iterator[Served]:
    """Each engine in turn; after its last test it stops as it promises."""
    kind = ENGINES[request.param]
    engine = kind.make(weights, adapters)
    client = EngineClient(engine, seconds=120)
    yield Served(request.param, kind, engine, client)
    client.close()
    if kind.has_model:
        assert engine.ended.result(0) is None
        assert not engine.is_healthy()


@pytest.fixture
def model(served: Served) -> Served:
    """An engine that computes."""
    return served
