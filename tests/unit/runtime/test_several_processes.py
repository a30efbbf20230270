"""Several processes compute one model, each with a part of every layer: what they answer is what one answers.

Two processes on this machine, over gloo.
"""

from __future__ import annotations

import json
import random
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models import tensor_parallel
from kaito_runtime.models.adapters import StackedAdapters

from tests.harness import peft_oracle
from tests.harness.lone_generate import SETTINGS, LoneGenerate
from tests.harness.peft_kinds import KINDS
from tests.harness.peft_oracle import logits
from tests.harness.rank_worker import free_port, together
from tests.harness.server_process import server_process
from tests.harness.tiny_adapter import make_tiny_adapter
from tests.harness.tiny_model import make_tiny_model

pytestmark = pytest.mark.runtime

ROWS: list[dict[str, float]] = [{}, {"it": 1.0}, {"other": 1.0}, {"it": 0.5, "other": -0.3}]
IDS = [1, 9, 3, 21, 5, 40, 7, 33]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapters(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: make_tiny_adapter(weights, folder / name, seed)
        for seed, name in enumerate(("facts", "tone"))
    }


def test_requests_are_answered_as_by_one_process(
    weights: Path, adapters: Mapping[str, Path]
) -> None:
    lone = LoneGenerate(weights, adapters)
    chance = random.Random(0)
    names = ["", *adapters]
    asked = [
        (lone.prompt(chance.choice((1, 5, 12, 30)), n), names[n % 3], ours, theirs)
        for n, (ours, theirs) in enumerate([*SETTINGS, *SETTINGS[4:8]])
    ]
    asked += [(lone.prompt(80), "tone", {}, {})] * 3  # of one beginning: copied, not computed
    longest = ({"max_tokens": 50, "ignore_eos": True}, {"max_new_tokens": 50, "eos_token_id": []})
    asked += [
        (lone.prompt(30, n), "facts", *longest) for n in range(16)
    ]  # there is no room for all
    made = together(
        {
            "do": "answers",
            "weights": str(weights),
            "adapters": {name: str(folder) for name, folder in adapters.items()},
            "cache_bytes": 600_000,  # 1,025 positions, and 128 of beginnings
            "requests": [
                (ids, adapter, {"max_tokens": 12, **ours}) for ids, adapter, ours, _ in asked
            ],
            "refused": [([5, 6], {"search": {"num_beams": 2}, "greedy": None})],
        }
    )
    for (ids, adapter, ours, theirs), found in zip(asked, made["tokens"], strict=True):
        assert found == lone.ids(ids, adapter or None, **theirs), (len(ids), adapter, ours)
    assert made["preemptions"]
    assert made["prefix_tokens_found"]
    (refusal,) = made["refused"]
    assert "not possible with a model over several processes" in refusal


def test_every_kind_of_adapter_is_served_as_by_one_process(tmp_path: Path) -> None:
    models: dict[str, Any] = {}
    wanted = {}
    for architecture in ("phi3", "phi", "gemma3"):
        folder = tmp_path / architecture
        base = peft_oracle.make_base(architecture)
        base.save_pretrained(folder / "weights")
        other = peft_oracle.train(
            peft_oracle.make_base(architecture), folder / "other", r=3, target_modules="all-linear"
        )
        served = StackedAdapters(base)
        served.add("other", other.folder)
        models[architecture] = {"weights": str(folder / "weights"), "other": str(other.folder)}
        models[architecture]["kinds"] = kinds = {}
        for number, (kind, config) in enumerate(KINDS[architecture].items()):
            its_own = peft_oracle.make_base(architecture)
            kinds[kind] = str(peft_oracle.train(its_own, folder / str(number), **config).folder)
            served.add("it", Path(kinds[kind]))
            with served.rows(ROWS):
                ids = torch.tensor([IDS] * len(ROWS))
                wanted[f"{architecture}: {kind}"] = logits(base, ids)
            served.remove("it")
    found = together({"do": "logits", "models": models, "ids": IDS, "rows": ROWS})
    assert found.keys() == wanted.keys()
    assert len(found) > 40
    for name, each in found.items():
        assert (each - wanted[name]).abs().max() < 1e-4, name


def mounted(root: Path, weights: Path, port: int) -> tuple[str, ...]:
    """Put the weights where a pod has them, and return the flags of a server at a port."""
    (root / "workspace").mkdir()
    (root / "workspace/weights").symlink_to(weights)
    return ("--host", "127.0.0.1", "--port", str(port), "--torch_dtype", "float32")


def post(url: str, **body: Any) -> tuple[int, Any]:
    """Return the status and the JSON of an answer."""
    request = urllib.request.Request(url, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_node_with_two_gpus_computes_in_two_processes_that_end_together(
    weights: Path, tmp_path: Path
) -> None:
    port = free_port()
    flags = mounted(tmp_path, weights, port)
    with server_process(tmp_path, "tests.harness.two_gpu_server", *flags) as (process, output):
        lone = LoneGenerate(weights, {})
        prompt = "What does Ada like to eat?"
        ids = tuple(lone.tokenizer(prompt)["input_ids"])
        address = f"http://127.0.0.1:{port}/v1/completions"
        _, made = post(address, prompt=prompt, max_tokens=12, temperature=0)
        assert made["choices"][0]["text"] == lone.tokenizer.decode(lone.ids(ids)), made
        (follower,) = psutil.Process(process.pid).children()
        follower.kill()
        assert process.wait(60) == 1
        assert "PeerLost" in output.read()


def test_torchrun_starts_what_kaito_s_distributed_presets_start(
    weights: Path, tmp_path: Path
) -> None:
    port = free_port()
    command = ("--nproc-per-node", "2", "--master-port", str(free_port()))
    flags = ("-m", "kaito_runtime.serve", *mounted(tmp_path, weights, port))
    with server_process(tmp_path, "torch.distributed.run", *command, *flags) as (process, _):
        chat = f"http://127.0.0.1:{port}/chat"
        status, made = post(chat, prompt="Where", generate_kwargs={"max_new_tokens": 4})
        assert (status, made["Result"][:5]) == (200, "Where")
        status, made = post(chat, prompt="Where", generate_kwargs={"num_beams": 2})
        assert (status, "several processes" in str(made)) == (400, True)
        workers = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert not any(worker.is_running() for worker in workers)


@pytest.mark.parametrize(
    ("architecture", "size", "quantization", "words"),
    [
        ("phi3", 2, QuantizationConfig(), ""),
        ("phi", 2, QuantizationConfig(), ""),
        ("phi", 3, QuantizationConfig(), "its 4 attention heads"),
        ("gemma3", 4, QuantizationConfig(), "its 2 key-value heads"),
        ("phi3", 2, QuantizationConfig(load_in_4bit=True), "quantised"),
        (
            "falcon",
            2,
            QuantizationConfig(),
            "no tensor parallel plan for models of the type falcon",
        ),
    ],
)
def test_what_processes_cannot_compute_together_is_known_before_they_load(
    architecture: str, size: int, quantization: QuantizationConfig, words: str, tmp_path: Path
) -> None:
    peft_oracle.make_base(architecture).save_pretrained(tmp_path)
    found = tensor_parallel.obstacle(tmp_path, size, quantization)
    assert words in found
    assert bool(words) == bool(found)
