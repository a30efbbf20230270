"""The vLLM engine as far as it needs no vLLM; `make test-vllm` runs the rest."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaito_contract.reasons import Reason
from kaito_runtime import serve
from kaito_runtime.serving.engine import GenerationRequest, Prompt
from kaito_runtime.serving.engines.choices import ModelDefaults, choice_of
from kaito_runtime.serving.engines.delivery import DeltaStream
from kaito_runtime.serving.engines.detokenizer import Texts
from kaito_runtime.serving.engines.rows import Job, Row
from kaito_runtime.serving.engines.structure import schema_of
from kaito_runtime.serving.engines.vllm import errors, parameters
from kaito_runtime.serving.engines.vllm.adapter_files import AdapterReader, largest_rank
from kaito_runtime.serving.engines.vllm.library import lora_rank
from kaito_runtime.serving.engines.vllm.statistics import Statistics
from kaito_runtime.serving.sampling import JsonStructure, RequestRefusedError, Sampling

from tests.harness.tiny_adapter import make_tiny_adapter
from tests.unit.runtime.conftest import FailureOf

ENDS = frozenset({2, 7})


class Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(chr(97 + token) for token in ids)


def arguments(index: int = 0, streams: bool = True, **sampling: Any) -> Mapping[str, Any]:
    """What vLLM is asked for a prompt of three tokens in a context of ten."""

    async def row() -> Row:
        asked = Sampling(**sampling)
        request = GenerationRequest("a", Prompt(ids=(1, 2, 3)), asked, streams=streams)
        choice = choice_of(asked, ModelDefaults(ends=ENDS), prompt=3, most=10, vocabulary=100)
        deadline = None if asked.max_seconds is None else asked.max_seconds
        job = Job(request, DeltaStream(), [1, 2, 3], choice, deadline=deadline)
        return Row(job, index, Letters())

    return parameters.arguments_of(asyncio.run(row()))


ROWS: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
    ({}, {"temperature": 0.0, "max_tokens": 7, "stop_token_ids": [2, 7], "ignore_eos": True}),
    ({"greedy": False, "temperature": 0.5}, {"temperature": 0.5}),
    ({"ignore_eos": True}, {"stop_token_ids": []}),
    ({"search": {"eos_token_id": [9]}}, {"stop_token_ids": [9]}),
    ({"max_total_tokens": 8}, {"max_tokens": 5}),
    ({"min_total_tokens": 8}, {"min_tokens": 5}),
    ({"top_p": 0.0}, {"top_p": 1e-9}),
    ({"seed": -1}, {"seed": (1 << 63) - 1}),
    ({"seed": 5}, {"seed": 5}),
    ({"logit_bias": {4: 1.5}}, {"logit_bias": {4: 1.5}}),
    ({"stop": ("x",)}, {"detokenize": False, "stream_interval": 1}),
    ({"logprobs": 0}, {"logprobs": 0}),
    # The very grammar that says here when an answer is complete.
    *(
        ({"structure": each}, {"structured_outputs": {"json": schema_of(each)}})
        for each in (JsonStructure(), JsonStructure({"x": 1}))
    ),
]


@pytest.mark.parametrize(("sampling", "wanted"), ROWS)
def test_sampling_is_said_in_the_words_of_vllm(
    sampling: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    found = arguments(**sampling)
    assert {key: found[key] for key in wanted} == wanted


def test_each_sequence_has_a_seed_of_its_own_and_none_without_one() -> None:
    assert [arguments(index, seed=5)["seed"] for index in range(3)] == [5, 6, 7]
    assert "seed" not in arguments()


@pytest.mark.parametrize(
    ("sampling", "interval"), [({}, 1 << 30), ({"stop": ("x",)}, 1), ({"max_seconds": 2.0}, 1)]
)
def test_who_waits_for_the_whole_is_told_each_token_only_where_it_may_end_the_answer(
    sampling: Mapping[str, Any], interval: int
) -> None:
    assert arguments(streams=False, **sampling)["stream_interval"] == interval
    assert arguments(streams=True, **sampling)["stream_interval"] == 1


@pytest.mark.parametrize(
    ("sampling", "field"),
    [({"search": {"num_beams": 2}}, "num_beams"), ({"temperature": 2.5}, "temperature")],
)
def test_what_vllm_can_not_do_is_refused_with_its_field(
    sampling: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parameters.check(Sampling(**sampling))
    assert caught.value.field == field
    parameters.check(Sampling(search={"eos_token_id": 3}, temperature=2.0))


def test_log_probabilities_come_in_the_order_of_their_ranks() -> None:
    found = {
        5: SimpleNamespace(logprob=-3.0, rank=9),
        1: SimpleNamespace(logprob=-0.5, rank=1),
        2: SimpleNamespace(logprob=-1.0, rank=2),
    }
    (told,) = parameters.logprobs_of(5, found, 2, Texts(Letters()))
    assert (told.token, told.id, told.logprob) == ("f", 5, -3.0)
    assert [each.id for each in told.alternatives] == [1, 2]
    (alone,) = parameters.logprobs_of(5, found, 0, Texts(Letters()))
    assert not alone.alternatives
    assert parameters.logprobs_of(5, None, None, Texts(Letters())) == ()


def test_figures_of_steps_add_up_to_the_load() -> None:
    statistics = Statistics()
    prefixes = SimpleNamespace(queries=10, hits=4)
    step = SimpleNamespace(
        num_running_reqs=3,
        num_waiting_reqs=2,
        num_skipped_waiting_reqs=1,
        kv_cache_usage=0.25,
        prefix_cache_stats=prefixes,
    )
    statistics.record(step, SimpleNamespace(num_preempted_reqs=1))
    statistics.record(step, None)
    statistics.record(None, SimpleNamespace(num_preempted_reqs=2))
    load = statistics.load
    assert (load.running, load.waiting, load.cache_use, load.preemptions) == (3, 3, 0.25, 3)
    assert (load.prefix_tokens_queried, load.prefix_tokens_found) == (20, 8)


PREFIX = "(Worker pid=71) ERROR 11-28 10:51:14 [multiproc_executor.py:1063] "
DEATHS: list[tuple[list[str], Reason]] = [
    (["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"], Reason.OUT_OF_MEMORY),
    (["ValueError: No available memory for the cache blocks. Try increasing"], Reason.OUT_OF_MEMORY),
    (["ValueError: Free memory on device (3/15 GiB) on startup is less than desired GPU memory"],
     Reason.OUT_OF_MEMORY),
    (["torch.AcceleratorError: CUDA error: an illegal memory access was encountered"],
     Reason.DEVICE_LOST),
    (["ValueError: Available memory on node 0 (20/24 GiB) is less than requested memory for kv"],
     Reason.OUT_OF_MEMORY),
    (["safetensors._safetensors_rust.SafetensorError: incomplete metadata"], Reason.WEIGHTS_INVALID),
    (["KeyError: 'something'"], Reason.INTERNAL_ERROR),
    ([], Reason.INTERNAL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("causes", "reason"), DEATHS)
def test_a_failure_has_the_reason_that_its_processes_wrote(
    causes: list[str], reason: Reason
) -> None:
    assert errors.failure_of_death(causes).reason is reason
    started = errors.failure_of_start(RuntimeError("Engine core initialization failed"), causes)
    assert started.reason is reason
    assert "something" not in errors.failure_of_death(causes).message


def test_what_processes_write_to_standard_error_is_passed_on_and_searched(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = [
        f"{PREFIX}Traceback (most recent call last):",
        f"{PREFIX}  raise ValueError('x')",
        f"{PREFIX}ValueError: the true cause",
        "(EngineCore pid=70) RuntimeError: Engine core initialization failed. See root cause above.",
        "\x1b[0;36m(EngineCore pid=70)\x1b[0;0m vllm.exceptions.ThatError: another",
    ]
    output = errors.ErrorOutput()
    written = "".join(f"{line}\n" for line in lines)
    write = f"import sys; sys.stderr.write({written!r})"
    with output.inherited():
        subprocess.run([sys.executable, "-c", write], check=True)
    output.join()
    assert output.causes() == ["ValueError: the true cause", "vllm.exceptions.ThatError: another"]
    assert capfd.readouterr().err.splitlines() == lines
    os.write(2, b"mine again\n")
    assert capfd.readouterr().err == "mine again\n"


@pytest.mark.parametrize(
    ("rank", "taken"), [(1, 1), (2, 8), (8, 8), (9, 16), (300, 320), (512, 512)]
)
def test_a_rank_is_rounded_up_to_one_that_vllm_takes(rank: int, taken: int) -> None:
    assert lora_rank(rank) == taken
    with pytest.raises(ValueError, match="at most 512"):
        lora_rank(513)


# From here on adapters, with peft.


@pytest.fixture(scope="module")
def plain(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_adapter(weights, tmp_path_factory.mktemp("adapters") / "plain", 1)


@pytest.fixture
def reader(weights: Path) -> Iterator[AdapterReader]:
    from kaito_runtime.models import load

    with closing(AdapterReader(weights, load.load_tokenizer(weights))) as reader:
        yield reader


@pytest.mark.runtime
def test_an_adapter_of_full_strength_is_read_where_it_lies(
    reader: AdapterReader, plain: Path
) -> None:
    adapter = reader.read("plain", plain, 1.0)
    assert (adapter.folder, adapter.rank, adapter.strength) == (plain, 4, 1.0)
    assert not adapter.changes_nothing
    info = adapter.info(0.25)
    assert info.verification is not None
    assert info.verification.fields() == {
        "base": "not recorded",
        "tokenizer": "not recorded",
        "template": "matches",
        "largest_difference": 0.25,
        "changes_nothing": False,
    }
    assert largest_rank({"plain": (plain, 1.0)}) == 4
    assert largest_rank({}) == 0


@pytest.mark.runtime
@pytest.mark.parametrize("strength", [0.0, 0.5, -2.0])
def test_another_strength_is_in_the_second_matrices_of_a_copy(
    reader: AdapterReader, plain: Path, strength: float
) -> None:
    import torch
    from safetensors.torch import load_file

    adapter = reader.read("plain", plain, strength)
    copy = adapter.folder
    assert adapter.changes_nothing == (strength == 0.0)
    assert copy != plain
    before, after = (load_file(path / "adapter_model.safetensors") for path in (plain, copy))
    for key, tensor in before.items():
        torch.testing.assert_close(after[key], tensor * strength if "lora_B" in key else tensor)
    reader.close()
    assert not copy.exists()


KINDS: list[tuple[Mapping[str, Any], str]] = [
    ({"use_dora": True}, "DoRA, whose magnitudes vLLM does not apply"),
    ({"bias": "lora_only"}, "the base's biases, which vLLM does not apply"),
    ({"lora_bias": True}, "matrices have biases"),
    ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
    ({"trainable_token_indices": [3]}, "single tokens"),
    ({"init_lora_weights": "pissa"}, "taking a part out of the base"),
    ({"target_modules": ["embed_tokens"]}, "the embedding or the head"),
    ({"layer_replication": [[0, 1], [0, 2]]}, "it repeats layers"),
]


@pytest.mark.runtime
@pytest.mark.parametrize(("lora", "message"), KINDS)
def test_a_kind_that_vllm_does_not_serve_exactly_is_refused_with_the_reason(
    weights: Path,
    reader: AdapterReader,
    tmp_path: Path,
    failure_of: FailureOf,
    lora: dict[str, Any],
    message: str,
) -> None:
    folder = make_tiny_adapter(weights, tmp_path / "mine", 1, **lora)
    failure = failure_of(reader.read, "mine", folder, 1.0)
    assert failure.reason is Reason.ADAPTER_INVALID
    assert 'adapter "mine" can\'t be served: ' in failure.message
    assert message in failure.message


@pytest.mark.runtime
@pytest.mark.parametrize(
    "lora",
    [
        {"use_rslora": True, "r": 2},
        {"rank_pattern": {"o_proj": 2}, "alpha_pattern": {"down_proj": 32}},
        {"init_lora_weights": "gaussian"},
        {"layers_to_transform": [1], "target_modules": ["qkv_proj"]},
    ],
)
def test_a_kind_that_vllm_serves_is_read(
    weights: Path, reader: AdapterReader, tmp_path: Path, lora: dict[str, Any]
) -> None:
    folder = make_tiny_adapter(weights, tmp_path / "mine", 1, **lora)
    assert reader.read("mine", folder, 1.0).rank == lora.get("r", 4)


@pytest.mark.runtime
def test_an_adapter_of_another_base_is_refused_by_its_record(
    weights: Path, reader: AdapterReader, tmp_path: Path, failure_of: FailureOf
) -> None:
    from kaito_runtime.models import load
    from kaito_runtime.models.adapters import provenance_of

    mine = provenance_of(weights, load.load_tokenizer(weights))
    other = replace(mine, base_digest="sha256:" + "0" * 64)
    for name, provenance in (("mine", mine), ("other", other)):
        make_tiny_adapter(weights, tmp_path / name, 1, provenance)
    assert reader.read("mine", tmp_path / "mine", 1.0).base == "matches"
    failure = failure_of(reader.read, "other", tmp_path / "other", 1.0)
    assert "tuned on other weights" in failure.message


DAMAGES = {
    "no config": "adapter_config.json",
    "other kind": "LORA",
    "cut": "damaged",
    "missing tensor": "lacks lora_A.weight",
    "extra tensor": "fit no layer",
    "nan": "not finite",
    "other shape": "is [3, 3]",
    "saved embedding": 'the whole "model.embed_tokens"',
}


@pytest.mark.runtime
@pytest.mark.parametrize(("damage", "message"), DAMAGES.items())
def test_a_damaged_adapter_is_refused_with_what_is_wrong(
    reader: AdapterReader,
    plain: Path,
    tmp_path: Path,
    failure_of: FailureOf,
    damage: str,
    message: str,
) -> None:
    for path in plain.glob("[!.]*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    _damage(tmp_path, damage)
    failure = failure_of(reader.read, "mine", tmp_path, 1.0)
    assert failure.reason is Reason.ADAPTER_INVALID
    assert message in failure.message


def _damage(folder: Path, damage: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    config, file = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    tensors = load_file(file)
    first = sorted(tensors)[0]
    match damage:
        case "no config":
            config.unlink()
        case "other kind":
            config.write_text(json.dumps({**json.loads(config.read_text()), "peft_type": "IA3"}))
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "missing tensor":
            save_file({key: value for key, value in tensors.items() if key != first}, file)
        case "extra tensor":
            save_file({**tensors, first.replace("layers.0", "layers.9"): torch.ones(2, 2)}, file)
        case "nan":
            save_file({**tensors, first: torch.full_like(tensors[first], float("nan"))}, file)
        case "other shape":
            save_file({**tensors, first: torch.zeros(3, 3)}, file)
        case "saved embedding":
            name = "base_model.model.model.embed_tokens.weight"
            save_file({**tensors, name: torch.zeros(3, 3)}, file)


# The command line.


def test_a_quantised_base_is_refused_before_anything_is_loaded(failure_of: FailureOf) -> None:
    flags = serve.parser().parse_args(["--engine", "vllm", "--load_in_4bit"])
    failure = failure_of(serve.load_engine, flags)
    assert failure.reason is Reason.CONFIG_INVALID
    assert "--engine transformers" in failure.message


@pytest.mark.parametrize(
    "flags",
    [
        ("--engine", "other"),
        ("--gpu-memory-utilization", "0"),
        ("--gpu-memory-utilization", "1.5"),
        ("--max-model-len", "0"),
        ("--tensor-parallel-size", "-1"),
        ("--max-lora-rank", "many"),
    ],
)
def test_a_wrong_flag_is_refused(
    flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        serve.parser().parse_args(flags)
    assert caught.value.code == 2
    assert flags[1] in capsys.readouterr().err


def test_the_modules_are_imported_without_the_library() -> None:
    code = "import sys, kaito_runtime.serving.engines.vllm.start; sys.exit('vllm' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
