"""Any number of adapters on one base, chosen for each row of a batch; the base itself stays as it is."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from kaito_runtime.models.adapters.base import kind_of
from kaito_runtime.models.adapters.batch import Batch, Terms
from kaito_runtime.models.adapters.changes import Change, changes_of
from kaito_runtime.models.adapters.reading import SavedAdapter, read_adapter
from kaito_runtime.models.adapters.refusals import listed, refusal
from kaito_runtime.models.adapters.shards import WHOLE, shard_of
from kaito_runtime.models.adapters.stack import EmbeddingStack, Stack, stack_of
from kaito_runtime.models.rendering import Rendering, read_rendering

Weights = Sequence[Mapping[str, float]]
"""For each row the adapters that it uses, with their factors; an empty mapping is the base."""

_TermsByModule = Mapping[str, Terms]
_KEPT_BATCHES = 8
"""An engine fills some rows while others generate: few batches take turns."""


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """What is known of an adapter that is loaded."""

    name: str
    folder: Path
    strength: float
    """The factor with which it counts where a request does not say another one."""
    rank: int
    """The largest of its layers."""
    kinds: tuple[str, ...]
    """What it is made of, such as `lora`, `dora`, `rslora`, `embedding`, `weights`, `bias`."""
    layers: int
    """Modules of the base that it changes; 0 where it changes nothing."""
    bytes: int
    """Memory that it takes."""
    is_zero: bool
    """All that it would add is zero."""
    rendering: Rendering
    """How its rows became text, and so how a question is to be asked."""


class StackedAdapters:
    """The adapters of a model, which one thread loads, removes and computes with.

    with adapters.rows([{}, {"tone": 1.0}, {"tone": 0.5, "facts": 1.0}]):
        model(...)  # of three rows: the base, one adapter, the weighted sum of two

    Where no row uses an adapter, nothing is computed but the base.
    """

    def __init__(self, model: Any):
        self.model = model
        self._modules = dict(model.named_modules())
        self._stacks: dict[str, Stack] = {}
        self._loaded: dict[str, LoadedAdapter] = {}
        self._terms: _TermsByModule = {}
        """Of the batch that is computed now."""
        self._prepared: OrderedDict[Any, _TermsByModule] = OrderedDict()

    @property
    def loaded(self) -> Mapping[str, LoadedAdapter]:
        """The adapters by name, in the order of their loading."""
        return MappingProxyType(self._loaded)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the adapters that are loaded."""
        return tuple(self._loaded)

    @torch.inference_mode(False)  # tensors made in that mode can't be used outside of it
    @torch.no_grad()
    def add(self, name: str, folder: Path, strength: float = 1.0) -> LoadedAdapter:
        """Load an adapter.

        Raises AdapterInvalid, with the reason, for one that can't be served exactly as it was trained; what is
        loaded already is as before.
        """
        if name in self._loaded:
            raise refusal(name, "one of this name is loaded already; remove it first")
        try:
            rendering = read_rendering(folder)
        except ValueError as error:
            raise refusal(name, str(error)) from None
        saved = read_adapter(name, folder)
        changes = changes_of(self.model, saved)
        if parted := [module for module in changes if shard_of(self.model, module) is None]:
            raise refusal(
                name,
                f"it changes {listed(parted)}, of which each process has a part; serve it with one "
                "process that sees all GPUs",
            )
        before = self._bytes()
        self._prepared.clear()
        try:
            for module, change in changes.items():
                self._stack(module).put(name, change)
        except BaseException:  # out of memory: half an adapter is none
            self._drop(name)
            raise
        self._loaded[name] = LoadedAdapter(
            name=name,
            folder=folder,
            strength=strength,
            rank=max(
                (len(each.down) for each in changes.values() if each.down is not None), default=0
            ),
            kinds=_kinds(saved, changes),
            layers=len(changes),
            bytes=self._bytes() - before,
            is_zero=all(each.is_zero() for each in changes.values()),
            rendering=rendering,
        )
        return self._loaded[name]

    def remove(self, name: str) -> None:
        """Forget an adapter; KeyError where none has that name."""
        del self._loaded[name]
        self._drop(name)

    def default_weights(self) -> dict[str, float]:
        """Return what Kaito serves: the sum of all adapters, each at its own strength."""
        return {name: adapter.strength for name, adapter in self._loaded.items()}

    @contextmanager
    def rows(self, weights: Weights) -> Iterator[None]:
        """Let the forward passes inside use these adapters; KeyError for one that is not loaded."""
        before = self._terms
        self._use(self._prepare(weights))
        try:
            yield
        finally:
            self._use(before)

    def layers(self, name: str) -> list[str]:
        """Return the names of the modules that an adapter changes."""
        return [module for module, stack in self._stacks.items() if stack.has(name)]

    def changed_tokens(self, name: str, count: int) -> list[int]:
        """Return up to so many tokens whose embeddings an adapter changes, those that it changes most."""
        embeddings = self.model.get_input_embeddings()
        stack = next((each for each in self._stacks.values() if each.module is embeddings), None)
        return stack.changed_rows(name, count) if isinstance(stack, EmbeddingStack) else []

    def _use(self, terms: _TermsByModule) -> None:
        for name in self._terms.keys() - terms.keys():
            self._stacks[name].terms = None
        for name, each in terms.items():
            self._stacks[name].terms = each
        self._terms = terms

    @torch.inference_mode(False)
    @torch.no_grad()
    def _prepare(self, weights: Weights) -> _TermsByModule:
        key = tuple(frozenset(row.items()) for row in weights)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        for name in {name for row in weights for name in row}:
            if name not in self._loaded:
                raise KeyError(f'no adapter "{name}" is loaded')
        batch = Batch([dict(row) for row in weights])
        every = {name: stack.terms_of(batch) for name, stack in self._stacks.items()}
        self._prepared[key] = {name: terms for name, terms in every.items() if terms is not None}
        if len(self._prepared) > _KEPT_BATCHES:
            self._prepared.popitem(last=False)
        return self._prepared[key]

    def _stack(self, name: str) -> Stack:
        if name not in self._stacks:
            module = self._modules[name]
            kind = kind_of(module)
            if kind is None:
                raise TypeError(f"{name} is no module whose change is built here")
            shard = shard_of(self.model, name) or WHOLE
            self._stacks[name] = stack_of(module, kind, self.model.dtype, shard)
        return self._stacks[name]

    def _drop(self, name: str) -> None:
        for module, stack in list(self._stacks.items()):
            stack.drop(name)
            if stack.is_empty:
                del self._stacks[module]
        self._prepared.clear()

    def _bytes(self) -> int:
        return sum(stack.bytes for stack in self._stacks.values())


def _kinds(saved: SavedAdapter, changes: Mapping[str, Change]) -> tuple[str, ...]:
    config, terms = saved.config, changes.values()
    factors = {key for tensors in saved.modules.values() for key in tensors.factors}
    is_there = {
        "lora": any(key.startswith("lora_") for key in factors) and not config.use_dora,
        "dora": config.use_dora,
        "rslora": config.use_rslora,
        config.taken_from_base: bool(config.taken_from_base),
        "embedding": "lora_embedding_A" in factors,
        "tokens": bool(config.trainable_token_indices),
        "weights": any(each.weight is not None for each in terms),
        "bias": any(each.shift is not None for each in terms),
    }
    return tuple(kind for kind, there in is_there.items() if there)
