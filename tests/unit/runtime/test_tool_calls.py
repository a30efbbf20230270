"""Function calls in what a model writes: every form, whole and in pieces."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_runtime.serving.http.openai.tools.calls import Arguments, CallStart, Content, Event
from kaito_runtime.serving.http.openai.tools.formats import FORMATS, format_of
from kaito_runtime.serving.http.openai.tools.listed import ListReader
from kaito_runtime.serving.http.openai.tools.reader import ToolReader

FORM = {form.name: form for form in FORMATS}
TEMPLATES = {
    "hermes": "{% if tools %}<tools></tools>return <tool_call></tool_call>{% endif %}",
    "mistral": "{%- if tools %}[AVAILABLE_TOOLS]{% endif %}{{ '[TOOL_CALLS] [' }}",
    "llama3_json": '<|start_header_id|>{%- if tools %}Respond {"name": , "parameters": }{% endif %}',
    None: "{% for message in messages %}<|user|>{{ message.content }}{% endfor %}",
}


def read(form: str, *pieces: str) -> list[Event]:
    reader = ToolReader(FORM[form], frozenset({"f", "g"}))
    events = [event for piece in pieces for event in reader.feed(piece)]
    return joined([*events, *reader.finish()])


def joined(events: list[Event]) -> list[Event]:
    """Pieces of text, and of the arguments of one call, put together."""
    whole: list[Event] = []
    for kind, group in groupby(events, type):
        if kind is CallStart:
            whole += group
        else:
            whole.append(kind("".join(each.text for each in group)))  # type: ignore[union-attr]
    return whole


@pytest.mark.parametrize(("name", "template"), TEMPLATES.items())
def test_the_form_is_found_by_the_template(name: str | None, template: str) -> None:
    form = format_of(template)
    assert (form.name if form else None) == name


def test_a_template_that_writes_calls_as_xml_is_not_taken_for_one_that_writes_json() -> None:
    assert format_of("{% if tools %}<tool_call><function=f>{% endif %}") is None


CALL_F: list[Event] = [CallStart("f"), Arguments('{"a": "}"}')]
CALL_G: list[Event] = [CallStart("g"), Arguments("{}")]
F, G = '{"name": "f", "arguments": {"a": "}"}}', '{"name": "g", "arguments": {}}'
ANSWERS: dict[str, tuple[str, str, list[Event]]] = {
    "no call": ("hermes", "It lives there.\n", [Content("It lives there.\n")]),
    "one": ("hermes", f"<tool_call>\n{F}\n</tool_call>", CALL_F),
    "after text": ("hermes", f"Let me see.\n<tool_call>{F}</tool_call>\n",
                   [Content("Let me see."), *CALL_F]),
    "two": ("hermes", f"<tool_call>{F}</tool_call>\n<tool_call>{G}</tool_call>",
            [*CALL_F, *CALL_G]),
    "keys in another order": ("hermes", '<tool_call>{"arguments": {"b": 1}, "name": "f"}</tool_call>',
                              [CallStart("f"), Arguments('{"b": 1}')]),
    "arguments as text": ("hermes", '<tool_call>{"name": "f", "arguments": "{\\"b\\": 1}"}</tool_call>',
                          [CallStart("f"), Arguments('{"b": 1}')]),
    "no arguments": ("hermes", '<tool_call>{"name": "f"}</tool_call>',
                     [CallStart("f"), Arguments("{}")]),
    "cut off in its arguments": ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "x',
                                 [CallStart("f"), Arguments('{"a": "x')]),
    "cut off before its name": ("hermes", '<tool_call>{"na', [Content('<tool_call>{"na')]),
    "cut off in the mark": ("hermes", "I <tool_", [Content("I <tool_")]),
    "no JSON": ("hermes", "<tool_call>{f}</tool_call>", [Content("<tool_call>{f}</tool_call>")]),
    "no object": ("hermes", "<tool_call> f()", [Content("<tool_call> f()")]),
    "no name": ("hermes", '<tool_call>{"x": 1}</tool_call>', [Content('<tool_call>{"x": 1}</tool_call>')]),
    "a list": ("mistral", f"[TOOL_CALLS] [{F}, {G}]", [*CALL_F, *CALL_G]),
    "text before a list": ("mistral", f"See. [TOOL_CALLS][{F}]", [Content("See."), *CALL_F]),
    "names before": ("mistral", '[TOOL_CALLS]f{"a": "}"}[TOOL_CALLS]g{}', [*CALL_F, *CALL_G]),
    "names and marks": ("mistral", '[TOOL_CALLS]f[CALL_ID]abc123def[ARGS]{"a": "}"}', CALL_F),
    "a mark alone": ("mistral", "[TOOL_CALLS] [", [Content("[TOOL_CALLS] [")]),
    "the whole answer": ("llama3_json", ' {"name": "f", "parameters": {"a": "}"}}', CALL_F),
    "with the tag": ("llama3_json", '<|python_tag|>{"name": "g", "parameters": {}}', CALL_G),
    "with semicolons": ("llama3_json", f"{F}; {G}", [*CALL_F, *CALL_G]),
    "another JSON": ("llama3_json", '{"name": "Ada", "parameters": {}}',
                     [Content('{"name": "Ada", "parameters": {}}')]),
    "JSON after text": ("llama3_json", f"So: {F}", [Content(f"So: {F}")]),
    "nothing": ("llama3_json", " \n", [Content(" \n")]),
}  # fmt: skip


@pytest.mark.parametrize(("form", "text", "events"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_text_and_calls_whole_and_letter_by_letter(
    form: str, text: str, events: list[Event]
) -> None:
    assert read(form, text) == events
    assert read(form, *text) == events


def test_arguments_are_handed_on_while_they_come() -> None:
    reader = ToolReader(FORM["hermes"], frozenset({"f"}))
    assert reader.feed('<tool_call>{"name": "f", "argu') == []
    assert reader.feed('ments": {"a": ') == [CallStart("f"), Arguments('{"a": ')]
    assert reader.feed('"long') == [Arguments('"long')]


PARTS = st.sampled_from(
    ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "[ARGS]", F, G,
     '{"name": "f", "parameters": {"a": [1, {}]}}', "{}", "{", "}", "[", "]", ",", ";", " ", "\n", '"',
     "\\", "f", "text", '{"name": ', '"f"']
)  # fmt: skip


@given(st.sampled_from(list(FORM)), st.lists(PARTS, max_size=12), st.data())
def test_it_does_not_matter_where_an_answer_is_cut(
    form: str, parts: list[str], data: st.DataObject
) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(form, *pieces) == read(form, text)


@given(st.sampled_from(list(FORM)), st.lists(PARTS, max_size=12))
def test_an_answer_without_a_call_is_handed_on_as_it_is(form: str, parts: list[str]) -> None:
    text = "".join(parts)
    events = read(form, text)
    if not any(isinstance(event, CallStart) for event in events):
        assert "".join(event.text for event in events) == text  # type: ignore[union-attr]


@given(st.lists(st.sampled_from([F, G]), max_size=3), st.integers(1, 9))
def test_a_list_that_a_schema_has_made_is_read_in_pieces_of_any_size(
    calls: list[str], size: int
) -> None:
    text = f"[{', '.join(calls)}]"
    reader = ListReader()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = joined([event for piece in pieces for event in reader.feed(piece)])
    told = [event.name for event in events if isinstance(event, CallStart)]
    assert told == ["f" if '"f"' in call else "g" for call in calls]
