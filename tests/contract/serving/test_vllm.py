"""What is vLLM's alone: adapters by their own numbers, and processes that can die."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import BASE, AdapterNotFoundError, Prompt
from kaito_runtime.serving.sampling import RequestRefusedError

from tests.contract.serving.conftest import KINDS, Served
from tests.harness.engine_client import Answer
from tests.harness.http_server import eventually
from tests.harness.lone_generate import LoneGenerate
from tests.harness.server_process import server_process
from tests.harness.tiny_adapter import make_tiny_adapter

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed"),
]
SECONDS = 120


@pytest.fixture
def vllm(served: Served) -> Served:
    if served.name != "vllm":
        pytest.skip("another engine")
    return served


@pytest.fixture
def loaded(vllm: Served, weights: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder whose adapter is loaded as "mine" with half its strength."""
    folder = make_tiny_adapter(weights, tmp_path / "mine", 5, lora_alpha=8)
    vllm.engine.load_adapter("mine", folder, 0.5)
    yield folder
    if "mine" in {each.name for each in vllm.engine.adapters()}:
        vllm.engine.unload_adapter("mine")


def test_an_adapter_has_the_strength_that_it_was_loaded_with(
    vllm: Served, weights: Path, loaded: Path, tmp_path: Path
) -> None:
    half = make_tiny_adapter(weights, tmp_path / "half", 5, lora_alpha=4)
    reference = LoneGenerate(weights, {"halved": half})
    for words in (3, 17):
        ids = reference.prompt(words)
        answer = vllm.client.ask(Prompt(ids=ids), adapter="mine", max_tokens=12, logprobs=0)
        assert answer.ids == reference.ids(ids, "halved")
    (info,) = [each for each in vllm.engine.adapters() if each.name == "mine"]
    assert info.strength == 0.5
    assert info.verification is not None
    assert info.verification.largest_difference > 0


def test_another_adapter_of_the_same_name_and_folder_is_another(
    vllm: Served, weights: Path, loaded: Path
) -> None:
    vllm.engine.unload_adapter("mine")
    with pytest.raises(AdapterNotFoundError, match='"plain", "rslora"'):
        vllm.client.ask(adapter="mine")
    ids = LoneGenerate(weights, {}).prompt(200)  # long enough to be kept
    answers = []
    for seed in (6, 7):
        shutil.rmtree(loaded)
        reference = LoneGenerate(weights, {"it": make_tiny_adapter(weights, loaded, seed)})
        vllm.engine.load_adapter("mine", loaded, 1.0)
        answers.append(vllm.client.ask(Prompt(ids=ids), adapter="mine", logprobs=0).ids)
        assert answers[-1] == reference.ids(ids, "it", max_new_tokens=3)
        vllm.engine.unload_adapter("mine")
    assert answers[0] != answers[1]


def test_an_adapter_is_unloaded_after_the_request_that_uses_it(vllm: Served, loaded: Path) -> None:
    answer = Answer()
    running = vllm.client.submit(adapter="mine", max_tokens=200, ignore_eos=True, answer=answer)
    eventually(lambda: bool(answer.deltas))
    vllm.engine.unload_adapter("mine")
    assert running.result(SECONDS).finish == "length"


def test_of_several_adapters_one_must_be_named(vllm: Served) -> None:
    with pytest.raises(RequestRefusedError, match='adapter must be one of "plain", "rslora"'):
        vllm.client.ask("Where")


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"r": 16}, "--max-lora-rank 16"),
        ({"use_dora": True}, "DoRA"),
        ({"target_modules": ["lm_head"]}, "the head"),
    ],
)
def test_an_adapter_that_would_not_be_exact_is_refused(
    vllm: Served, weights: Path, tmp_path: Path, lora: dict[str, Any], message: str
) -> None:
    folder = make_tiny_adapter(weights, tmp_path / "a", 1, **lora)
    with pytest.raises(Failure, match=message) as caught:
        vllm.engine.load_adapter("a", folder, 1.0)
    assert caught.value.reason is Reason.ADAPTER_INVALID
    assert [each.name for each in vllm.engine.adapters()] == sorted(KINDS)


def test_one_adapter_too_many_is_refused(vllm: Served, loaded: Path) -> None:
    with pytest.raises(RequestRefusedError, match="at most 3"):
        vllm.engine.load_adapter("more", loaded, 1.0)


def test_what_vllm_can_not_do_is_refused_with_its_name(vllm: Served) -> None:
    with pytest.raises(RequestRefusedError, match="num_beams is not possible with vLLM"):
        vllm.client.ask(search={"num_beams": 3}, adapter=BASE)
    with pytest.raises(RequestRefusedError, match="temperature must be at most 2"):
        vllm.client.ask(greedy=False, temperature=3.0, adapter=BASE)


def test_the_program_serves_and_ends_when_vllm_dies(
    weights: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/weights").symlink_to(weights)
    (tmp_path / "mnt/adapter").mkdir(parents=True)
    (tmp_path / "mnt/adapter/plain").symlink_to(adapters["plain"])
    flags = ("--engine", "vllm", "--host", "127.0.0.1", "--port", str(port))
    with server_process(tmp_path, "kaito_runtime.serve", *flags, "--torch_dtype", "float32") as (
        process,
        output,
    ):
        body = {"prompt": "Where", "generate_kwargs": {"max_new_tokens": 4, "do_sample": False}}
        answers = {}
        for name in ("base", "plain", None):
            named = {**body, **({"adapter": name} if name else {})}
            url = f"http://127.0.0.1:{port}/chat"
            with urllib.request.urlopen(url, json.dumps(named).encode(), timeout=60) as answer:
                answers[name] = json.loads(answer.read())["Result"]
        assert answers[None] == answers["plain"] != answers["base"]
        core = next(
            child for child in psutil.Process(process.pid).children() if _is_engine_core(child)
        )
        core.send_signal(signal.SIGKILL)
        read = output.read()
        assert process.wait(timeout=60) == 1, read
    told = json.loads((tmp_path / "dev/termination-log").read_text())
    assert told["reason"] == "InternalError"
    assert "vLLM's processes have ended" in told["message"]


def _is_engine_core(process: psutil.Process) -> bool:
    return "EngineCore" in " ".join(process.cmdline()) or "EngineCore" in process.name()
