"""What every process of an engine has: the model, the slots of its cache, its adapters.

Where several processes compute one model, each call below is made by all of them: rank 0 tells the others,
which repeat it in `follow`. Only rank 0 knows of requests; what it draws from the scores, it alone draws.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from kaito_contract.reasons import Reason
from kaito_runtime.models import load as memory
from kaito_runtime.models.adapters import LoadedAdapter, Verifier, digest_of_files
from kaito_runtime.models.adapters.refusals import refusal
from kaito_runtime.models.ranks import ALONE, Ranks, lost
from kaito_runtime.models.verification import Verification
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engines.budget import cache_budget
from kaito_runtime.serving.engines.transformers.cache import SlotPool
from kaito_runtime.serving.engines.transformers.forward import SlotModel, no_adapters

P = ParamSpec("P")
T = TypeVar("T")
Weights = Mapping[str, float]
"""Adapters and their strengths."""
_COMMANDS: set[str] = set()


def on_every_rank(
    method: Callable[Concatenate["Replica", P], T],
) -> Callable[Concatenate["Replica", P], T]:
    """Let the others make a call of rank 0 as well; its arguments travel by pickle."""
    _COMMANDS.add(method.__name__)

    @wraps(method)
    def call(self: "Replica", /, *arguments: P.args, **named: P.kwargs) -> T:
        self.ranks.tell((method.__name__, arguments, named))
        return method(self, *arguments, **named)

    return call


class Replica:
    """Computes for a scheduler; see the module.

    A step that one rank fails at ends them all, with Failure (PeerLost): nobody knows any more what the others
    have computed.
    """

    def __init__(
        self,
        network: Any,
        vocabulary: int,
        adapters: Verifier | None = None,
        ranks: Ranks = ALONE,
    ):
        """Compute the first tokens; raises NotPlainError, and what the model raises."""
        self.ranks = ranks
        self.adapters = adapters
        self.model = SlotModel(network, adapters.adapters.rows if adapters else no_adapters)
        self.model.prove(vocabulary)
        self.pool = SlotPool(self.model.layers)
        """To be read alone: it is changed by the methods below."""
        self.model.compute_one_token({}, self.pool)  # after it, the size of a position is known
        self.budget = min(ranks.gather(cache_budget(self.model.layer_devices)))
        """Bytes that keys and values may take, here and on every other rank."""

    def follow(self) -> None:
        """Do what rank 0 does until it stops; raises Failure where they no longer compute together."""
        while (command := self.ranks.receive()) is not None:
            name, arguments, named = command
            if name not in _COMMANDS:
                raise lost(RuntimeError(f"rank 0 is of another release: it asked for {name}"))
            try:
                with torch.inference_mode():  # as the scheduler
                    getattr(self, name)(*arguments, **named)
            except Exception as error:
                if not _is_agreed(error):
                    raise

    def stop(self) -> None:
        """Let the others stop following, and leave them."""
        self.ranks.tell(None)
        self.ranks.leave()

    @on_every_rank
    def scores(
        self,
        tokens: Sequence[Sequence[int]],
        slots: Sequence[int],
        starts: Sequence[int],
        weights: Sequence[Weights],
    ) -> torch.Tensor:
        """Compute tokens of some rows; see SlotModel."""
        with self._together():
            return self.model.scores(self.pool, tokens, slots, starts, weights)

    @on_every_rank
    def compute_one_token(self, weights: Weights) -> None:
        """Compute something, in an empty pool; raises what the device raises."""
        with self._together():
            self.model.compute_one_token(weights)

    @on_every_rank
    def resize(self, slots: int, capacity: int) -> None:
        """Change the pool's size; raises what the device raises without memory, and nothing is lost then."""
        before = self.pool.slots, self.pool.capacity
        failed: Exception | None = None
        try:
            self.pool.resize(slots, capacity)
        except Exception as error:  # noqa: BLE001  raised below, once all know
            failed = error
        if not all(self.ranks.gather(failed is None)):
            self.pool.slots, self.pool.capacity = before
            raise failed or MemoryError("another process of the model has no memory")

    @on_every_rank
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a slot to another."""
        with self._together():
            self.pool.copy(source, target, length)

    @on_every_rank
    def swap(self, one: int, other: int, length: int) -> None:
        """Exchange the first positions of two slots."""
        with self._together():
            self.pool.swap(one, other, length)

    @on_every_rank
    def keep(self, number: int, slot: int, length: int) -> None:
        """Keep a copy of the first positions of a slot, under a number."""
        with self._together():
            self.pool.keep(number, slot, length)

    @on_every_rank
    def restore(self, number: int, slot: int, length: int) -> None:
        """Put the first positions of what was kept into a slot."""
        with self._together():
            self.pool.restore(number, slot, length)

    @on_every_rank
    def forget(self, numbers: Sequence[int]) -> None:
        """Free what was kept."""
        self.pool.forget(numbers)

    @on_every_rank
    def add_adapter(
        self, name: str, folder: Path, strength: float
    ) -> tuple[LoadedAdapter, Verification]:
        """Load and verify an adapter, which every rank has in the same folder; see Verifier."""
        verifier = self._verifier()
        if len(set(self.ranks.gather(digest_of_files(folder)))) > 1:
            raise refusal(name, f"{folder} differs between the pods of the model")
        with self._together():
            return verifier.add(name, folder, strength)

    @on_every_rank
    def remove_adapter(self, name: str) -> None:
        """Forget an adapter."""
        self._verifier().remove(name)

    def _verifier(self) -> Verifier:
        if self.adapters is None:
            raise RuntimeError("this engine was made without adapters")
        return self.adapters

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except Failure as failure:
            if self.ranks.are_several and not _is_agreed(failure):
                raise lost(failure) from failure
            raise
        except BaseException as error:
            if self.ranks.are_several:
                raise lost(error) from error
            raise


def _is_agreed(error: Exception) -> bool:
    """Whether every rank has failed in the same way, or was told of it, and goes on."""
    if isinstance(error, Failure):
        return error.reason is Reason.ADAPTER_INVALID
    return memory.is_out_of_memory(error)
