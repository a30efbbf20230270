"""The library vLLM: its processes, started, asked and stopped. Nothing else imports it.

Written for vLLM 0.32; SamplingParams, LoRARequest and AsyncLLM are its interface for programs.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engines.vllm.errors import (
    EngineDiedError,
    ErrorOutput,
    VllmRefusedError,
    failure_of_death,
    failure_of_start,
)
from kaito_runtime.serving.engines.vllm.statistics import Statistics

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for its largest rank."""

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # Forking a process that has threads can stop it for good.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}
_ANY_NUMBER = 1 << 30
_FIT = -1
"""As `max_model_len`: what the memory has room for, at most the model's own."""


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What vLLM is started with; the names are those of its command line."""

    model: Path
    dtype: str = "auto"
    trust_remote_code: bool = False
    max_model_len: int | None = None
    """None: as long as the model and the memory allow."""
    gpu_memory_utilization: float = 0.9
    """Share of each GPU's memory for weights, activations and keys and values."""
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_num_seqs: int = 256
    """Sequences that are generated at once."""
    max_lora_rank: int = 0
    """0: no adapters."""
    max_loras: int = 1
    """Different adapters in one step."""
    max_cpu_loras: int = 16
    """Adapters in memory; others are read again when they are asked for."""
    cpu_cache_bytes: int | None = None
    """For keys and values where there is no GPU."""

    @property
    def most_adapters(self) -> int:
        """How many can be loaded at once."""
        return self.max_loras if self.cpu_cache_bytes is not None else _ANY_NUMBER


class Library:
    """vLLM's AsyncLLM; used on the event loop on which it was started."""

    def __init__(self, llm: Any, statistics: Statistics, output: ErrorOutput):
        self._llm = llm
        self._statistics = statistics
        self._output = output

    @classmethod
    async def started(cls, settings: VllmSettings) -> "Library":
        """Start the processes, which load the model; takes minutes. Raises Failure."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        statistics, output = Statistics(), ErrorOutput()
        try:
            with output.inherited():
                llm = AsyncLLM.from_engine_args(
                    AsyncEngineArgs(**_engine_arguments(settings)),
                    stat_loggers=[lambda *_: statistics],
                )
        except Exception as error:  # noqa: BLE001  whatever it was, vLLM did not start
            output.join()
            raise failure_of_start(error, output.causes()) from None
        return cls(llm, statistics, output)

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""
        return int(self._llm.model_config.max_model_len)

    @property
    def statistics(self) -> Statistics:
        """What vLLM counts."""
        return self._statistics

    async def outputs(
        self, request_id: str, ids: Sequence[int], arguments: Mapping[str, Any], lora: Any
    ) -> AsyncGenerator[Any, None]:
        """Yield vLLM's outputs of one sequence; closing it ends the sequence.

        Args:
            request_id: Distinct among those that run.
            ids: The prompt.
            arguments: Of SamplingParams; `structured_outputs` those of StructuredOutputsParams.
            lora: An adapter of `lora`, or None.

        Raises:
            VllmRefusedError: for arguments that vLLM refuses.
            EngineDiedError: when its processes have ended.
        """
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import tokens_input
        from vllm.sampling_params import (
            RequestOutputKind,
            SamplingParams,
            StructuredOutputsParams,
        )
        from vllm.v1.engine.exceptions import EngineDeadError

        given = {**arguments, "output_kind": RequestOutputKind.DELTA}
        try:
            if structure := given.get("structured_outputs"):
                given["structured_outputs"] = StructuredOutputsParams(**structure)
            outputs = self._llm.generate(
                tokens_input(list(ids)), SamplingParams(**given), request_id, lora_request=lora
            )
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    yield output
        except VLLMClientError as error:
            raise VllmRefusedError(str(error)) from None
        except EngineDeadError:
            raise EngineDiedError from None

    @property
    def dtype(self) -> str:
        """The number type of the weights."""
        return str(self._llm.model_config.dtype).removeprefix("torch.")

    async def log_probabilities(self, ids: Sequence[int], lora: Any = None) -> list[float]:
        """Return those of the tokens of a prompt, all but the first; raises what `outputs` raises."""
        arguments = {"temperature": 0.0, "max_tokens": 1, "detokenize": False, "prompt_logprobs": 0}
        found: Sequence[Mapping[int, Any] | None] = ()
        async for output in self.outputs("probe", ids, arguments, lora):
            found = output.prompt_logprobs or found
        return [each[token].logprob for each, token in zip(found, ids, strict=True) if each]

    async def prove(self, lora: Any = None) -> None:
        """Generate one token; raises Failure where that fails."""
        arguments = {"temperature": 0.0, "max_tokens": 1, "detokenize": False}
        try:
            async for _ in self.outputs("proof", [0], arguments, lora):
                pass
        except EngineDiedError:
            raise await self.died() from None
        except Exception as error:  # noqa: BLE001  whatever it was, it does not answer
            raise failure_of_start(error, self._output.causes()) from None

    def lora(self, name: str, number: int, folder: Path) -> Any:
        """Return what names an adapter to vLLM; `number` is of this adapter alone, from 1."""
        from vllm.lora.request import LoRARequest

        # What is computed for a prompt is kept under the name and the folder: another adapter may get both.
        return LoRARequest(f"{name}#{number}", number, str(folder))

    async def add(self, lora: Any) -> None:
        """Load an adapter; raises VllmRefusedError or EngineDiedError."""
        await self._asked(self._llm.add_lora(lora))

    async def remove(self, lora: Any) -> None:
        """Forget an adapter; see `add`."""
        await self._asked(self._llm.remove_lora(lora.lora_int_id))

    async def died(self) -> Failure:
        """Return why the processes have ended, once they have."""
        await asyncio.wait([self._llm.output_handler])
        await asyncio.to_thread(self._output.join)
        return failure_of_death(self._output.causes())

    def stop(self) -> None:
        """End the processes; blocks for seconds."""
        self._llm.shutdown()

    async def _asked(self, answer: Awaitable[Any]) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await answer
        except EngineDeadError:
            raise EngineDiedError from None
        except Exception as error:  # noqa: BLE001  the other process's, with its words alone
            raise VllmRefusedError(str(error)) from None


def lora_rank(rank: int) -> int:
    """Return the smallest value of vLLM's for adapters of a rank; raises ValueError beyond the largest."""
    for each in LORA_RANKS:
        if rank <= each:
            return each
    raise ValueError(f"must be at most {LORA_RANKS[-1]}, found {rank}")


def _engine_arguments(settings: VllmSettings) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(settings.model),
        "dtype": settings.dtype,
        "trust_remote_code": settings.trust_remote_code,
        "max_model_len": settings.max_model_len or _FIT,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "pipeline_parallel_size": settings.pipeline_parallel_size,
        "max_num_seqs": settings.max_num_seqs,
        # The defaults of the model are filled in by `choices`, for every engine in the same way.
        "generation_config": "vllm",
        # The library that the transformers engine has too: the same schemas mean the same.
        "structured_outputs_config": {"backend": "guidance"},
        "disable_log_stats": True,
    }
    if settings.cpu_cache_bytes is not None:
        # Compiling would need a compiler, and more than a minute at each start.
        arguments |= {"kv_cache_memory_bytes": settings.cpu_cache_bytes, "enforce_eager": True}
    if settings.max_lora_rank:
        # On a processor the last place stays empty: vLLM gives it to whoever asks for the base beside
        # others who ask for an adapter (vllm-project/vllm#48421).
        places = settings.max_loras + (settings.cpu_cache_bytes is not None)
        arguments |= {
            "enable_lora": True,
            "max_lora_rank": lora_rank(settings.max_lora_rank),
            "max_loras": places,
            "max_cpu_loras": max(settings.max_cpu_loras, places),
        }
    return arguments
