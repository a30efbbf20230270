"""The proof that an adapter is what it says, on what it was tuned on, and in effect.

Two things are held together: the adapter's record with what is loaded, and the answers to one prompt with the
adapter and without. An adapter of the operator has a record; one of Kaito has none, and is served as
"not recorded".

An update that is all zero (of a training without a step) is served, and reported as changing nothing: that is
what it says itself. An update that is not zero and yet changes no answer was lost on the way, and is refused.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kaito_runtime.models.adapters import refusals
from kaito_runtime.models.adapters.base import is_in_8_bits
from kaito_runtime.models.adapters.provenance import Provenance, recorded_provenance
from kaito_runtime.models.adapters.refusals import refusal
from kaito_runtime.models.adapters.stacked import LoadedAdapter, StackedAdapters, Weights
from kaito_runtime.models.rendering import Rendering, read_record
from kaito_runtime.models.verification import Match, Verification

PROMPT = "The quick brown fox jumps over the lazy dog, and asks what the answer is: 42."
PROMPT_TOKENS, _CHANGED_TOKENS = 24, 4


@dataclass(frozen=True, slots=True)
class Verifier:
    """Loads adapters, and proves each."""

    adapters: StackedAdapters
    served: Provenance
    """Of the base that is loaded."""
    tokenizer: Any
    verifications: dict[str, Verification] = field(default_factory=dict)
    """Of the adapters that are loaded, by name."""

    def add(
        self, name: str, folder: Path, strength: float = 1.0
    ) -> tuple[LoadedAdapter, Verification]:
        """Load an adapter; raises AdapterInvalid for one that fails its proof, and does not keep it."""
        base, of_tokenizer = compare(name, folder, self.served)
        loaded = self.adapters.add(name, folder, strength)
        try:
            difference = _probe(self.adapters, loaded, self.tokenizer)
        except BaseException:
            self.adapters.remove(name)
            raise
        verification = self.verifications[name] = Verification(
            adapter=name,
            base=base,
            tokenizer=of_tokenizer,
            template=match_of_template(folder, loaded.rendering, self.tokenizer),
            largest_difference=difference,
            changes_nothing=loaded.is_zero,
        )
        return loaded, verification

    def remove(self, name: str) -> None:
        """Forget an adapter; KeyError where none has that name."""
        self.adapters.remove(name)
        self.verifications.pop(name, None)


def compare(name: str, folder: Path, served: Provenance) -> tuple[Match, Match]:
    """Hold base and tokenizer to an adapter's record; AdapterInvalid names what differs."""
    try:
        recorded = recorded_provenance(folder)
    except ValueError as error:
        raise refusal(name, str(error)) from None
    for key in sorted(recorded.base_config.keys() & served.base_config.keys()):
        before, now = recorded.base_config[key], served.base_config[key]
        if before != now:
            raise refusal(
                name,
                f"it was tuned on a base whose config.json has `{key}`: {_short(before)}, and that of this "
                f"base is {_short(now)}; serve it on the base that it was tuned on, or tune again",
            )
    for what, before, now in (
        ("other weights", recorded.base_digest, served.base_digest),
        ("another tokenizer", recorded.tokenizer_digest, served.tokenizer_digest),
    ):
        if before and now and before != now:
            raise refusal(
                name,
                f"it was tuned on {what} ({before[:15]}... recorded, {now[:15]}... loaded); serve it on the "
                "base that it was tuned on, or tune again",
            )
    return (
        _match(recorded.base_digest, served.base_digest),
        _match(recorded.tokenizer_digest, served.tokenizer_digest),
    )


def _match(recorded: str, loaded: str) -> Match:
    return Match.MATCHES if recorded and loaded else Match.NOT_RECORDED


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def match_of_template(folder: Path, rendering: Rendering, tokenizer: Any) -> Match:
    """Return whether an adapter is asked in the template of its record."""
    if read_record(folder) is None:
        return Match.NOT_RECORDED
    is_own = rendering.chat_template not in ("", tokenizer.chat_template)
    return Match.OWN if is_own else Match.MATCHES


def _probe(adapters: StackedAdapters, loaded: LoadedAdapter, tokenizer: Any) -> float:
    """Return the largest difference of the logits of one prompt, with the adapter and without.

    Two rows, of which the adapter is on in one: it must change that one, and no other.
    """
    name, model = loaded.name, adapters.model
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"][:PROMPT_TOKENS]
    ids += adapters.changed_tokens(name, _CHANGED_TOKENS)
    rows = torch.tensor([ids, ids]).to(model.device)
    without = _logits(adapters, rows, [{}, {}])
    with _calls(model, adapters.layers(name)) as not_called:
        with_it = _logits(adapters, rows, [{}, {name: 1.0}])
    if not_called:
        raise refusal(
            name,
            f"it changes {refusals.listed(sorted(not_called))}, whose weights this model uses without "
            "calling the layer; tune without it",
        )
    of_others, difference = ((with_it - without).abs().amax((1, 2))).tolist()
    if not loaded.is_zero and difference == 0.0:
        raise refusals.without_effect(name, str(model.dtype).removeprefix("torch."))
    if of_others > difference / 2 and not _is_mixed(model):
        raise refusal(
            name,
            "it changes rows that do not use it: a layer of this model does not see the rows of a batch "
            "one by one; tune without that layer",
        )
    return float(difference)


@contextmanager
def _calls(model: Any, layers: Iterable[str]) -> Iterator[set[str]]:
    """Give the names of those layers that have not been called."""
    not_called = set(layers)
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda *_, name=name: not_called.discard(name)
        )
        for name in layers
    ]
    try:
        yield not_called
    finally:
        for hook in hooks:
            hook.remove()


def _is_mixed(model: Any) -> bool:
    """Whether rows are mixed by the base itself: LLM.int8 keeps out the columns of any row's outliers."""
    return any(is_in_8_bits(module) for module in model.modules())


def _logits(adapters: StackedAdapters, ids: Tensor, rows: Weights) -> Tensor:
    with torch.inference_mode(), adapters.rows(rows):
        found: Tensor = adapters.model(input_ids=ids).logits
        return found.float()
