"""One forward pass over rows of the pool: what to write, what may be seen, and the last scores."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any

import torch
from transformers.cache_utils import get_layer_types_and_kwargs

from kaito_runtime.models.gpus import is_spread
from kaito_runtime.serving.engines.transformers.cache import SlotPool, Step

NO_ADAPTERS: Mapping[str, float] = MappingProxyType({})
WIDTH_STEP = 32
"""Positions are read in multiples of it: allocators and libraries keep what they know of a shape."""
_PLAIN = {"full_attention", "sliding_attention"}
_MOVING_ROPE = ("dynamic", "longrope")
"""Position encodings that change for the whole batch once one sequence is long."""
_PROOF_TOLERANCE = 1e-2
"""Of the largest score: far above rounding in bfloat16, far below a mask that is wrong."""
AdapterRows = Callable[[Sequence[Mapping[str, float]]], AbstractContextManager[None]]
"""Makes a forward pass use, for each row, adapters with their strengths."""


def no_adapters(_rows: Sequence[Mapping[str, float]]) -> AbstractContextManager[None]:
    """Every row is answered by the base."""
    return nullcontext()


class SlotModel:
    """A model that computes rows of a pool."""

    def __init__(self, model: Any, adapter_rows: AdapterRows = no_adapters):
        """Raise NotPlainError for a model whose cache is not keys and values of attention alone."""
        config = model.config.get_text_config()
        types, arguments = layer_types(config)
        if not set(types) <= _PLAIN:
            raise NotPlainError(
                f"it has layers of the kind {', '.join(sorted(set(types) - _PLAIN))}"
            )
        windows = {each["sliding_window"] for each in arguments if each.get("sliding_window")}
        if len(windows) > 1:
            raise NotPlainError("its sliding windows differ")
        self._window = windows.pop() if windows else None
        self._types = sorted(set(types))
        self._model = model
        self._adapter_rows = adapter_rows
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._context = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self.layers = len(types)
        self.device = torch.device(model.device)
        self._is_spread = is_spread(model)
        self.layer_devices: Sequence[torch.device] = [self.device] * self.layers
        """Where keys and values of each layer lie; known once it has been proved."""
        self.longest = _longest(config)
        """Tokens of a sequence up to which a row does not depend on its neighbours."""

    def scores(
        self,
        pool: SlotPool,
        tokens: Sequence[Sequence[int]],
        slots: Sequence[int],
        starts: Sequence[int],
        weights: Sequence[Mapping[str, float]],
    ) -> torch.Tensor:
        """Compute tokens of some rows, and return the scores after the last token of each.

        Args:
            pool: Where keys and values lie; each slot has room for its start and the longest of tokens.
            tokens: Of each row, one or more.
            slots: Of each row.
            starts: How many tokens each row has in its slot already.
            weights: Of each row, adapters and their strengths.

        Returns:
            [rows, vocabulary], in the model's number type.
        """
        counts = [len(each) for each in tokens]
        length = max(counts)
        padded = [[*each, *[0] * (length - len(each))] for each in tokens]
        ids = torch.tensor(padded, device=self.device)
        first = torch.tensor(starts, device=self.device)[:, None]
        positions = first + torch.arange(length, device=self.device)
        # What follows a row's last token is written where its next ones will be, and never seen.
        width = _width(max(start + length for start in starts), pool.capacity)
        follows = all(slot == slots[0] + n for n, slot in enumerate(slots))
        pool.step = Step(
            torch.tensor(slots, device=self.device),
            positions,
            width,
            slots[0] if follows else None,
        )
        last = [count - 1 for count in counts]
        arguments: dict[str, Any] = {}
        if self._keeps_logits:
            kept = sorted(set(last))
            # Of layers on several devices, the last one is indexed: an index on the CPU is for each.
            where = torch.device("cpu") if self._is_spread else self.device
            arguments["logits_to_keep"] = torch.tensor(kept, device=where)
            last = [kept.index(each) for each in last]
        with torch.inference_mode(), self._adapter_rows(weights):
            logits = self._model(
                input_ids=ids,
                attention_mask=self._masks(positions, width),
                position_ids=positions.clamp(max=self._context - 1),
                past_key_values=pool,
                use_cache=True,
                **arguments,
            ).logits
        found: torch.Tensor = (
            logits[torch.arange(len(tokens), device=logits.device), last]
            if any(last)
            else logits[:, 0]
        )
        return found

    def prove(self, vocabulary: int) -> None:
        """Compare a few tokens with the model's own forward pass.

        Raises NotPlainError where they differ, and what the model raises.
        """
        rows = [[(7 * n + 3) % vocabulary for n in range(length)] for length in (9, 5)]
        pool = SlotPool(self.layers, slots=2)
        none: list[Mapping[str, float]] = [{}, {}]
        self.scores(pool, [row[:-2] for row in rows], [0, 1], [0, 0], none)
        for back in (2, 1):
            last = [row[len(row) - back : len(row) - back + 1] for row in rows]
            starts = [len(row) - back for row in rows]
            found = self.scores(pool, last, [0, 1], starts, none).float()
        self.layer_devices = pool.devices() or self.layer_devices
        with torch.inference_mode(), self._adapter_rows(none[:1]):
            for row, ours in zip(rows, found, strict=True):
                ids = torch.tensor([row], device=self.device)
                theirs = self._model(input_ids=ids, use_cache=False).logits[0, -1].float()
                difference = float((ours - theirs).abs().max())
                if not difference <= _PROOF_TOLERANCE * max(1.0, float(theirs.abs().max())):
                    raise NotPlainError(f"its scores differ by {difference:.2g} in slots")

    def compute_one_token(
        self, weights: Mapping[str, float] = NO_ADAPTERS, pool: SlotPool | None = None
    ) -> None:
        """Compute something, in an empty pool; raises what the device raises."""
        scores = self.scores(pool or SlotPool(self.layers), [[0]], [0], [0], [weights])
        scores.float().sum().item()

    def _masks(self, positions: torch.Tensor, width: int) -> Any:
        places = torch.arange(width, device=self.device)
        at = positions[:, None, :, None]
        full = places <= at
        masks = {"full_attention": full}
        if self._window:
            masks["sliding_attention"] = full & (places > at - self._window)
        return masks if len(self._types) > 1 else masks[self._types[0]]


class NotPlainError(Exception):
    """The model can't be computed in slots; the text says why."""


def layer_types(config: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the kind of cache of each layer, and its arguments, as transformers' DynamicCache has them."""
    types, arguments = get_layer_types_and_kwargs(config)
    return list(types), list(arguments)


def _longest(config: Any) -> int:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *[each for each in rope.values() if isinstance(each, dict)]]
    for each in kinds:
        if each.get("rope_type", each.get("type")) in _MOVING_ROPE:
            limit = each.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            return int(limit or config.max_position_embeddings)
    return 1 << 62


def _width(needed: int, capacity: int) -> int:
    return min(-(-needed // WIDTH_STEP) * WIDTH_STEP, capacity)
