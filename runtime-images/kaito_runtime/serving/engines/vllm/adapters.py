"""The adapters that vLLM has, by their names."""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaito_runtime.models.adapters.refusals import refusal, without_effect
from kaito_runtime.models.adapters.verify import PROMPT, PROMPT_TOKENS
from kaito_runtime.models.rendering import Rendering
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import AdapterInfo, AdapterNotFoundError, EngineEndedError
from kaito_runtime.serving.engines.vllm.adapter_files import AdapterReader, VllmAdapter
from kaito_runtime.serving.engines.vllm.errors import EngineDiedError, VllmRefusedError
from kaito_runtime.serving.engines.vllm.library import Library, VllmSettings, lora_rank
from kaito_runtime.serving.engines.vllm.loop_thread import LoopThread
from kaito_runtime.serving.sampling import RequestRefusedError


@dataclass(frozen=True, slots=True)
class _Loaded:
    info: AdapterInfo
    rendering: Rendering
    lora: Any
    """What names it to vLLM."""


class LoadedAdapters:
    """Loads and unloads on threads that may wait; the rest is asked from anywhere."""

    def __init__(
        self, settings: VllmSettings, library: Library, thread: LoopThread, tokenizer: Any
    ):
        self._largest_rank = settings.max_lora_rank and lora_rank(settings.max_lora_rank)
        self._most = settings.most_adapters
        self._reader = AdapterReader(settings.model, tokenizer, settings.trust_remote_code)
        self._probe = tokenizer(PROMPT, add_special_tokens=False)["input_ids"][:PROMPT_TOKENS]
        self._library = library
        self._thread = thread
        self._numbers = itertools.count(1)
        self._loaded: dict[str, _Loaded] = {}
        self._leaving: set[str] = set()
        self._one_at_a_time = threading.Lock()

    def infos(self) -> Sequence[AdapterInfo]:
        """Return those that a request can name, in the order of their names."""
        return [
            each.info for name, each in sorted(self._loaded.items()) if name not in self._leaving
        ]

    def rendering(self, name: str) -> Rendering:
        """Return how the rows of an adapter were rendered."""
        return self._loaded[name].rendering

    def lora(self, name: str) -> Any:
        """Return what names an adapter to vLLM."""
        return self._loaded[name].lora

    def load(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        """Add one, and generate a token with it; raises Failure, or RequestRefusedError for the name."""
        with self._one_at_a_time:
            if name in self._loaded:
                raise RequestRefusedError(f'"{name}" is loaded already; unload it first', "adapter")
            if not self._largest_rank:
                raise RequestRefusedError(
                    "is not possible: the server was started without; start it with --max-lora-rank",
                    "adapter",
                )
            if len(self._loaded) >= self._most:
                raise RequestRefusedError(
                    f"is one too many: without a GPU vLLM serves those of the start, at most "
                    f"{self._most}; unload another first",
                    "adapter",
                )
            adapter = self._reader.read(name, folder, strength)
            if adapter.rank > self._largest_rank:
                raise refusal(
                    name,
                    f"its rank is {adapter.rank}, and the server was started for at most "
                    f"{self._largest_rank}; start it with --max-lora-rank {adapter.rank}",
                )
            lora = self._library.lora(name, next(self._numbers), adapter.folder)
            try:
                difference = self._thread.run(self._proven(adapter, lora))
            except VllmRefusedError as error:
                raise refusal(name, f"vLLM refuses it ({error})") from None
            except EngineDiedError:
                raise EngineEndedError from None
            info = adapter.info(difference)
            self._loaded[name] = _Loaded(info, adapter.rendering, lora)
            return info

    def unload(self, name: str, wait_until_unused: Callable[[str], None]) -> None:
        """Remove one, after the requests that use it; raises AdapterNotFoundError."""
        if name not in {each.name for each in self.infos()}:
            raise AdapterNotFoundError(f'"{name}" not found', "adapter")
        self._leaving.add(name)
        try:
            wait_until_unused(name)
            lora = self._loaded.pop(name).lora
            self._thread.run(self._library.remove(lora))
        except EngineDiedError:
            raise EngineEndedError from None
        finally:
            self._leaving.discard(name)

    async def _proven(self, adapter: VllmAdapter, lora: Any) -> float:
        """Load an adapter; return by how much it changes the log probabilities of one prompt."""
        await self._library.add(lora)
        try:
            await self._library.prove(lora)
            without = await self._library.log_probabilities(self._probe)
            with_it = await self._library.log_probabilities(self._probe, lora)
            difference = max(abs(one - other) for one, other in zip(without, with_it, strict=True))
            if difference == 0.0 and not adapter.changes_nothing:
                raise without_effect(adapter.name, self._library.dtype)
        except Failure:
            await self._library.remove(lora)
            raise
        return difference

    def close(self) -> None:
        """Remove the copies of their files."""
        self._reader.close()
