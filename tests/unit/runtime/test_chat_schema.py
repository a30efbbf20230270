"""The body of POST /chat, as Kaito v0.3.0 reads it."""

import json
from typing import Any

import pytest

from kaito_runtime.serving.http.chat_schema import (
    MESSAGES_REQUIRED,
    PROMPT_REQUIRED,
    BadRequestError,
    Chat,
    SchemaError,
    parse_chat,
)
from kaito_runtime.serving.sampling import Sampling

KAITO = Sampling(
    max_total_tokens=200, greedy=False, temperature=1.0, top_k=10, top_p=1, repetition_penalty=1
)
"""What Kaito's defaults are here."""


def parse(content: object, pipeline: str = "text-generation") -> Chat:
    return parse_chat(json.dumps(content).encode(), pipeline)


def sampling(**generate_kwargs: Any) -> Sampling:
    return parse({"prompt": "Hi", "generate_kwargs": generate_kwargs}).request.sampling


def test_a_prompt_alone_gets_the_defaults_of_kaito() -> None:
    chat = parse({"prompt": "Hi"})
    assert chat.shown == "Hi"
    assert chat.request.sampling == KAITO
    assert chat.request.prompt.text == "Hi"
    assert chat.request.prompt.is_message is None
    assert not chat.request.streams


def test_null_generate_kwargs_drop_the_defaults() -> None:
    # transformers generates twenty tokens where nobody says how many.
    sampling = parse({"prompt": "Hi", "generate_kwargs": None}).request.sampling
    assert sampling == Sampling(max_tokens=20)


def test_null_values_and_arguments_of_earlier_releases_that_mean_off_are_accepted() -> None:
    # What the end-to-end tests of v0.3.0 send.
    given = {"bad_words_ids": None, "num_beam_groups": 1, "diversity_penalty": 0,
             "length_penalty": 1, "return_dict_in_generate": False, "max_length": None}  # fmt: skip
    assert sampling(**given).search == {}
    assert sampling(**given).max_tokens == 20


def test_max_new_tokens_replaces_max_length() -> None:
    for more in ({}, {"max_length": 7}):
        got = sampling(max_new_tokens=5, **more)
        assert (got.max_tokens, got.max_total_tokens) == (5, None)


@pytest.mark.parametrize(
    ("key", "value", "name", "means"),
    [
        ("max_length", 9, "max_total_tokens", 9),
        ("min_length", 4, "min_total_tokens", 4),
        ("min_new_tokens", 4, "min_tokens", 4),
        ("do_sample", False, "greedy", True),
        ("temperature", 0.5, "temperature", 0.5),
        ("top_k", 3, "top_k", 3),
        ("top_p", 0.5, "top_p", 0.5),
        ("min_p", 0.1, "min_p", 0.1),
        ("repetition_penalty", 1.2, "repetition_penalty", 1.2),
        ("presence_penalty", 0.5, "presence_penalty", 0.5),
        ("frequency_penalty", 0.5, "frequency_penalty", 0.5),
        ("logit_bias", {"7": -100}, "logit_bias", {7: -100.0}),
        ("stop_strings", "end", "stop", ("end",)),
        ("stop_strings", ["a", "b"], "stop", ("a", "b")),
        ("stop_strings", "end", "include_stop", True),
        ("num_return_sequences", 3, "n", 3),
        ("max_time", 2.5, "max_seconds", 2.5),
        ("seed", 7, "seed", 7),
        ("num_beams", 4, "search", {"num_beams": 4}),
        ("num_beams", 1, "search", {}),
        ("typical_p", 0.9, "search", {"typical_p": 0.9}),
        ("typical_p", 1, "search", {}),
        ("early_stopping", True, "search", {"early_stopping": True}),
        ("early_stopping", "never", "search", {"early_stopping": "never"}),
        ("length_penalty", 1.0, "search", {}),
        ("length_penalty", 2.0, "search", {"length_penalty": 2.0}),
        ("eos_token_id", [2, 7], "search", {"eos_token_id": [2, 7]}),
        ("eos_token_id", 0, "search", {"eos_token_id": 0}),
        ("pad_token_id", 3, "search", {}),
        ("bos_token_id", 1, "search", {}),
        ("use_cache", True, "search", {}),
        ("bad_words_ids", [[5], [6, 7]], "search", {"bad_words_ids": [[5], [6, 7]]}),
        ("no_repeat_ngram_size", 0, "search", {}),
    ],
)
def test_each_argument_of_generate_has_its_neutral_parameter(
    key: str, value: object, name: str, means: object
) -> None:
    assert getattr(sampling(**{key: value}), name) == means


@pytest.mark.parametrize(
    ("content", "pipeline", "text"),
    [
        ({}, "text-generation", PROMPT_REQUIRED),
        ({"prompt": ""}, "text-generation", PROMPT_REQUIRED),
        ({"prompt": "", "messages": []}, "text-generation", PROMPT_REQUIRED),
        ({"prompt": "Hi"}, "conversational", MESSAGES_REQUIRED),
        ({"messages": []}, "conversational", MESSAGES_REQUIRED),
        ({"prompt": "a", "handle_long_generation": "cut"}, "text-generation", '"hole"'),
        ({"prompt": "a", "stream": True, "clean_up_tokenization_spaces": True}, "text-generation",
         "clean_up_tokenization_spaces must be false"),
        ({"prompt": "a", "promt": 1}, "text-generation", 'did you mean "prompt"'),
        ({"prompt": "a", "max_new_tokens": 5}, "text-generation", "into generate_kwargs"),
    ],
)  # fmt: skip
def test_what_can_not_be_answered_is_400(content: object, pipeline: str, text: str) -> None:
    with pytest.raises(BadRequestError, match=text):
        parse(content, pipeline)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("temprature", 1, 'did you mean "temperature"'),
        ("max_new_token", 1, 'did you mean "max_new_tokens"'),
        ("custom_generate", "x/y", "it can have bad_words_ids, "),
        ("compile_config", {}, "it can have bad_words_ids, "),
        ("x" * 100_000, {}, "xxx... *; it can have bad_words_ids, "),
        ("num_beam_groups", 2, "generate_kwargs.num_beam_groups is not supported; leave it out"),
        ("num_beams", 0, "generate_kwargs.num_beams must be a number from 1 to 32, found 0"),
        ("num_beams", 10_000_000, "num_beams must be a number from 1 to 32"),
        ("num_return_sequences", 0, "num_return_sequences must be a number from 1 to 32, found 0"),
        ("max_new_tokens", -1, "generate_kwargs.max_new_tokens must be at least 1, found -1"),
        ("temperature", 1e-9, "generate_kwargs.temperature must be 0 or at least 0.001"),
        ("temperature", -1, "generate_kwargs.temperature must be a number from 0"),
        ("length_penalty", float("nan"), "generate_kwargs.length_penalty must be a finite number"),
        ("repetition_penalty", float("inf"), "repetition_penalty must be a finite number"),
        ("stop_strings", ["x"] * 100, "generate_kwargs.stop_strings must be at most 16 texts"),
        ("stop_strings", "", "generate_kwargs.stop_strings must be at most 16 texts"),
        ("logit_bias", {"-1": 1}, "generate_kwargs.logit_bias must have token ids"),
        ("seed", 1 << 70, "generate_kwargs.seed must be a number from"),
    ],
)
def test_a_setting_that_can_not_be_used_is_400_with_its_name(
    key: str, value: object, text: str
) -> None:
    with pytest.raises(BadRequestError, match=text.replace("...", r"\.\.\.").replace(" *", '"')):
        sampling(**{key: value})


def test_a_key_is_suggested_only_where_it_is_near() -> None:
    with pytest.raises(BadRequestError) as caught:
        sampling(ignore_mistakes=True)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind", "path"),
    [
        (b"", "missing", ["body"]),
        (b"{", "json_invalid", ["body", 1]),
        (b"[]", "model_attributes_type", ["body"]),
        (b'{"prompt": 5}', "string_type", ["body", "prompt"]),
        (b'{"prompt": "a", "return_full_text": "maybe"}', "bool_parsing",
         ["body", "return_full_text"]),
        (b'{"prompt": "a", "return_full_text": []}', "bool_type", ["body", "return_full_text"]),
        (b'{"prompt": "a", "stream": "x"}', "bool_parsing", ["body", "stream"]),
        (b'{"prompt": "a", "adapter": 1}', "string_type", ["body", "adapter"]),
        (b'{"generate_kwargs": 1}', "model_attributes_type", ["body", "generate_kwargs"]),
        (b'{"generate_kwargs": {"top_k": "x"}}', "int_parsing",
         ["body", "generate_kwargs", "top_k"]),
        (b'{"generate_kwargs": {"top_k": 1.5}}', "int_from_float",
         ["body", "generate_kwargs", "top_k"]),
        (b'{"generate_kwargs": {"temperature": "hot"}}', "float_parsing",
         ["body", "generate_kwargs", "temperature"]),
        (b'{"generate_kwargs": {"seed": "x"}}', "int_parsing",
         ["body", "generate_kwargs", "seed"]),
        (b'{"generate_kwargs": {"use_cache": []}}', "bool_type",
         ["body", "generate_kwargs", "use_cache"]),
        (b'{"messages": "hi"}', "list_type", ["body", "messages"]),
        (b'{"messages": [{"role": "user"}]}', "missing", ["body", "messages", 0, "content"]),
        (b'{"messages": [1]}', "model_attributes_type", ["body", "messages", 0]),
    ],
)  # fmt: skip
def test_another_schema_is_422_with_the_place(
    body: bytes, kind: str, path: list[str | int]
) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_chat(body, "text-generation")
    (error,) = caught.value.detail
    assert (error["type"], error["loc"]) == (kind, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("stop_strings", [1]), ("eos_token_id", "two"), ("logit_bias", {"many": 1})],
)
def test_where_several_types_are_possible_each_error_names_the_key(key: str, value: object) -> None:
    with pytest.raises(SchemaError) as caught:
        sampling(**{key: value})
    assert all(
        error["loc"][:3] == ["body", "generate_kwargs", key] for error in caught.value.detail
    )


def test_every_error_is_told_at_once_in_the_form_of_fastapi() -> None:
    body = b'{"prompt": 5, "generate_kwargs": {"top_k": "x"}, "messages": [{"role": "user"}]}'
    with pytest.raises(SchemaError) as caught:
        parse_chat(body, "text-generation")
    assert caught.value.detail == [
        {
            "type": "string_type",
            "loc": ["body", "prompt"],
            "msg": "Input should be a valid string",
            "input": 5,
        },
        {
            "type": "int_parsing",
            "loc": ["body", "generate_kwargs", "top_k"],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
            "input": "x",
        },
        {
            "type": "missing",
            "loc": ["body", "messages", 0, "content"],
            "msg": "Field required",
            "input": {"role": "user"},
        },
    ]


def test_values_are_read_as_generously_as_kaito_reads_them() -> None:
    got = sampling(top_k="7", num_beams=2.0, do_sample="off", temperature="0.5")
    assert (got.top_k, got.greedy, got.temperature) == (7, True, 0.5)
    assert got.search == {"num_beams": 2}


@pytest.mark.parametrize("depth", [90, 110, 600, 100_000])
def test_a_deeply_nested_argument_is_refused(depth: int) -> None:
    body = b'{"prompt": "a", "generate_kwargs": {"bad_words_ids": %b}}' % (
        b"[" * depth + b"]" * depth
    )
    with pytest.raises(SchemaError if depth < 100 else BadRequestError):
        parse_chat(body, "text-generation")


def test_a_prefix_stands_before_the_prompt_and_is_never_shown() -> None:
    chat = parse({"prompt": "Hi", "prefix": "Say: ", "handle_long_generation": "hole"})
    assert (chat.request.prompt.text, chat.shown) == ("Say: Hi", "Hi")
    assert chat.request.prompt.truncate


def test_messages_are_answered_in_any_pipeline() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    for pipeline in ("text-generation", "conversational"):
        chat = parse({"messages": messages}, pipeline)
        assert chat.request.prompt.messages == ({"role": "user", "content": "Hi"},)
        assert chat.shown == ""
        assert chat.is_conversation == (pipeline == "conversational")


def test_of_a_prompt_and_messages_the_pipeline_takes_its_own() -> None:
    both = {"prompt": "a", "messages": [{"role": "user", "content": "Hi"}]}
    assert parse(both, "text-generation").request.prompt.text == "a"
    assert parse(both, "conversational").request.prompt.messages


def test_every_request_has_an_id_of_its_own() -> None:
    assert parse({"prompt": "Hi"}).request.id != parse({"prompt": "Hi"}).request.id


@pytest.mark.parametrize("text", [b"\\ud800", b"\xed\xa0\x80"])
def test_half_a_surrogate_pair_is_no_text(text: bytes) -> None:
    with pytest.raises(BadRequestError, match="surrogate"):
        parse_chat(b'{"prompt": "%b"}' % text, "text-generation")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    body = b'{"prompt": "\\ud83e\\udda6"}'
    assert parse_chat(body, "text-generation").shown == "\U0001f9a6"
