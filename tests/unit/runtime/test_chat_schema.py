"""The body of POST /chat, as Kaito v0.3.0 reads it."""

import json

import pytest

from kaito_runtime.serving.batch_engine import ChatRequest
from kaito_runtime.serving.schema import (
    MESSAGES_REQUIRED,
    PROMPT_REQUIRED,
    BadRequestError,
    SchemaError,
    parse_chat,
)


def parse(content: object, pipeline: str = "text-generation") -> ChatRequest:
    return parse_chat(json.dumps(content).encode(), pipeline)


def test_a_prompt_alone_gets_the_defaults_of_kaito() -> None:
    request = parse({"prompt": "Hi"})
    assert request.return_full_text
    assert request.generation == {
        "max_length": 200,
        "min_length": 0,
        "do_sample": True,
        "early_stopping": False,
        "num_beams": 1,
        "temperature": 1.0,
        "top_k": 10,
        "top_p": 1,
        "typical_p": 1,
        "repetition_penalty": 1,
    }


def test_null_generate_kwargs_drop_the_defaults() -> None:
    assert parse({"prompt": "Hi", "generate_kwargs": None}).generation == {}


def test_null_values_and_arguments_of_earlier_releases_that_mean_off_are_accepted() -> None:
    # What the end-to-end tests of v0.3.0 send.
    given = {"bad_words_ids": None, "num_beam_groups": 1, "diversity_penalty": 0,
             "length_penalty": 1, "return_dict_in_generate": False, "max_length": None}  # fmt: skip
    generation = parse({"prompt": "Hi", "generate_kwargs": given}).generation
    assert generation["length_penalty"] == 1
    assert "num_beam_groups" not in generation
    assert "max_length" not in generation


def test_max_new_tokens_replaces_max_length() -> None:
    generation = parse({"prompt": "Hi", "generate_kwargs": {"max_new_tokens": 5}}).generation
    assert generation["max_new_tokens"] == 5
    assert "max_length" not in generation


@pytest.mark.parametrize(
    ("content", "pipeline", "text"),
    [
        ({}, "text-generation", PROMPT_REQUIRED),
        ({"prompt": ""}, "text-generation", PROMPT_REQUIRED),
        ({"messages": [{"role": "user", "content": "x"}]}, "text-generation", PROMPT_REQUIRED),
        ({"prompt": "Hi"}, "conversational", MESSAGES_REQUIRED),
        ({"messages": []}, "conversational", MESSAGES_REQUIRED),
        ({"prompt": "a", "handle_long_generation": "cut"}, "text-generation", '"hole"'),
        ({"prompt": "a", "generate_kwargs": {"temprature": 1}}, "text-generation", "temperature"),
        ({"prompt": "a", "generate_kwargs": {"custom_generate": "x/y"}}, "text-generation", "cust"),
        ({"prompt": "a", "generate_kwargs": {"num_beam_groups": 2}}, "text-generation", "support"),
    ],
)
def test_what_can_not_be_answered_is_400(content: object, pipeline: str, text: str) -> None:
    with pytest.raises(BadRequestError, match=text):
        parse(content, pipeline)


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
        (b'{"generate_kwargs": 1}', "model_attributes_type", ["body", "generate_kwargs"]),
        (b'{"generate_kwargs": {"top_k": "x"}}', "int_parsing",
         ["body", "generate_kwargs", "top_k"]),
        (b'{"generate_kwargs": {"top_k": 1.5}}', "int_from_float",
         ["body", "generate_kwargs", "top_k"]),
        (b'{"generate_kwargs": {"temperature": "hot"}}', "float_parsing",
         ["body", "generate_kwargs", "temperature"]),
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
    given = {"top_k": "7", "num_beams": 2.0, "do_sample": "off", "temperature": "0.5"}
    generation = parse({"prompt": "Hi", "generate_kwargs": given}).generation
    assert {key: generation[key] for key in given} == {
        "top_k": 7,
        "num_beams": 2,
        "do_sample": False,
        "temperature": 0.5,
    }


def test_a_deeply_nested_argument_is_handed_on() -> None:
    nested = json.loads("[" * 600 + "]" * 600)
    generation = parse({"prompt": "Hi", "generate_kwargs": {"bad_words_ids": nested}}).generation
    assert generation["bad_words_ids"] == nested
