"""What is drawn has the probabilities that transformers' processors leave, and penalties their formulas."""

from __future__ import annotations

import types
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_runtime.serving.engines.detokenizer import StopTexts
from kaito_runtime.serving.engines.rows import Choice

pytestmark = pytest.mark.runtime

DRAWS = 2_000
TEMPERATURES = st.sampled_from((0.001, 0.3, 1.0, 2.5))


@given(
    seed=st.integers(0, 1 << 20),
    vocabulary=st.sampled_from((7, 300, 3_000)),
    temperature=TEMPERATURES,
    top_k=st.sampled_from((0, 1, 5, 50, 2_000)),
    top_p=st.sampled_from((1.0, 0.95, 0.5, 0.01)),
    min_p=st.sampled_from((0.0, 0.05, 0.9)),
)
@settings(max_examples=60, deadline=None)
def test_a_token_is_drawn_as_often_as_transformers_would(
    seed: int, vocabulary: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    import torch
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    from kaito_runtime.serving.engines.transformers.drawing import groups

    scores = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    choice = Choice(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    (group,) = groups([choice] * DRAWS, scores.device)
    uniforms = (torch.arange(DRAWS) + 0.5) / DRAWS
    drawn = group.draw(scores.expand(DRAWS, -1), uniforms)
    found = torch.bincount(drawn, minlength=vocabulary) / DRAWS

    ids: Any = torch.zeros((1, 1), dtype=torch.long)
    wanted = TemperatureLogitsWarper(temperature)(ids, scores)
    if top_k:
        wanted = TopKLogitsWarper(min(top_k, vocabulary))(ids, wanted)
    if top_p < 1:
        wanted = TopPLogitsWarper(top_p)(ids, wanted)
    if min_p:
        wanted = MinPLogitsWarper(min_p)(ids, wanted)
    assert float((found - wanted.softmax(dim=-1)[0]).abs().max()) <= 2 / DRAWS + 1e-4


def row(prompt: list[int], answer: list[int], **choice: Any) -> Any:
    job = types.SimpleNamespace(ids=prompt, choice=Choice(**choice))
    return types.SimpleNamespace(job=job, tokens=prompt + answer, made=len(answer))


def test_penalties_count_what_each_row_has_and_nothing_of_others() -> None:
    import torch

    from kaito_runtime.serving.engines.transformers.penalties import Penalties

    rows = [
        row([1, 2, 2], [3, 3], repetition_penalty=2.0),
        row([1], [4, 4, 4, 5], presence_penalty=0.5, frequency_penalty=0.25),
        row([6, 7], [], presence_penalty=1.0, frequency_penalty=1.0),
        row([0] * 9, [8]),
    ]
    scores = torch.tensor([[1.0, -1.0] * 5] * 4)
    penalties = Penalties(rows, scores.device)
    wanted = scores.clone()
    wanted[0, [1, 2, 3]] = torch.tensor([-2.0, 0.5, -2.0])
    wanted[1, [4, 5]] = torch.tensor([1.0 - 0.5 - 0.75, -1.0 - 0.5 - 0.25])
    found = scores.clone()
    penalties.apply(found)
    torch.testing.assert_close(found, wanted)
    rows[2].tokens.append(9)
    rows[2].made = 1
    wanted[2, 9] = -1.0 - 1.0 - 1.0
    found = scores.clone()
    penalties.apply(found)
    torch.testing.assert_close(found, wanted)


@given(st.data())
def test_a_stop_text_is_found_however_the_text_is_cut(data: st.DataObject) -> None:
    text = data.draw(st.text("abc", max_size=30))
    stops = data.draw(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    finder, shown = StopTexts(stops, include=False), ""
    for piece in pieces:
        more, is_stopped = finder.add(piece)
        shown += more
        assert not any(stop in shown for stop in stops)
        if is_stopped:
            break
    else:
        shown += finder.flush()
        assert not any(stop in text for stop in stops)
        assert shown == text
        return
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    first = min(ends)  # the first that is complete ends the answer
    assert text.startswith(shown)
    assert len(shown) <= first
