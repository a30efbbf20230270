"""What the fingerprint of a tuning covers of URLs and configurations, and what people read of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kaito_hooks.workspace.api import Input, Output, PresetChoice, Tuning
from kaito_hooks.workspace.children.training_config import parse_config
from kaito_hooks.workspace.data_urls import shown, without_credentials
from kaito_hooks.workspace.fingerprints import of_inputs, of_transfers
from kaito_hooks.workspace.input_record import changes, record

from tests.harness.answers import ready
from tests.harness.builders import config_map, tuning_workspace

TUNING = Tuning(
    preset=PresetChoice("phi-2", False, "", ()),
    method="lora",
    config="params",
    serve=True,
    input=Input(("https://data.example/a.parquet",), "", ()),
    output=Output("registry.example/a:1", "push"),
)
SAME = [
    ("LoraConfig: {r: 4}", "LoraConfig:\n    r: 4   # rank"),
    ("LoraConfig: {r: 4, lora_alpha: 8}", "LoraConfig: {lora_alpha: 8, r: 4}"),
    ("LoraConfig: {r: 4}", "LoraConfig: {r: 4.0}"),
    ("LoraConfig: {target_modules: [a, b]}", "LoraConfig:\n    target_modules:\n    - a\n    - b"),
    ("DatasetConfig: {shuffle_dataset: yes}", "DatasetConfig: {shuffle_dataset: true}"),
    ('LoraConfig: {bias: "none"}', "LoraConfig: {bias: none}"),
    ("LoraConfig: &a {r: 4}", "LoraConfig: {r: 4}"),
]
OTHER = [
    ("LoraConfig: {r: 4}", "LoraConfig: {r: 8}"),
    ("LoraConfig: {lora_dropout: 0.1}", "LoraConfig: {lora_dropout: 0.10001}"),
    ("LoraConfig: {target_modules: [a, b]}", "LoraConfig: {target_modules: [b, a]}"),
    ("DatasetConfig: {shuffle_dataset: true}", 'DatasetConfig: {shuffle_dataset: "true"}'),
    ("LoraConfig: {r: 4}", "LoraConfig: {}"),
]


def of_text(sections: str) -> str:
    return of_inputs(TUNING, parse_config(f"training_config:\n  {sections}\n", "lora", "params"))


@pytest.mark.parametrize(("one", "two"), SAME)
def test_how_a_configuration_is_written_does_not_count(one: str, two: str) -> None:
    assert of_text(one) == of_text(two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_each_value_of_a_configuration_counts(one: str, two: str) -> None:
    assert of_text(one) != of_text(two)


URLS = [
    ("https://h/a?download=true", "https://h/a?download=true", True),
    ("https://h/a?v=1", "https://h/a?v=2", False),
    ("https://h/a?sv=1&sp=r&se=2026&sig=x%2B", "https://h/a?sv=2&sp=r&se=2027&sig=y", True),
    ("https://h/a", "https://h/a?X-Amz-Signature=1&X-Amz-Date=2", True),
    ("https://h/a?v=1&token=x", "https://h/a?v=1&token=y", True),
    ("https://h/a?se=1", "https://h/a?se=2", False),
    ("https://u:p@h/a", "https://u:q@h/a", True),
    ("https://h/a", "https://h/b", False),
    ("https://h/a%20b?c=%20", "https://h/a%20b?c=%20", True),
]


@pytest.mark.parametrize(("one", "two", "same"), URLS)
def test_a_signature_is_not_the_data(one: str, two: str, same: bool) -> None:
    hashes = {of_inputs(replace(TUNING, input=Input((url,), "", ())), None) for url in (one, two)}
    assert (len(hashes) == 1) == same
    ways = {of_transfers(replace(TUNING, input=Input((url,), "", ()))) for url in (one, two)}
    assert (len(ways) == 1) == (one == two)


def test_a_url_without_credentials_is_left_as_it_is() -> None:
    for url in ("https://h/a?download=true", "https://h/%7Ea?b=c+d&e", "https://[::1", "http://h"):
        assert without_credentials(url) == url


def test_people_read_no_query_and_still_see_that_it_changed() -> None:
    one, two = (shown(f"https://u:hunter2@h/a?key=hunter{n}") for n in (3, 4))
    assert one.startswith("https://h/a?(")
    assert "hunter" not in one + two
    assert one != two
    assert shown("https://h/a?sig=hunter") == "https://h/a"


def test_the_image_of_a_private_base_counts() -> None:
    def private(image: str) -> Tuning:
        return replace(TUNING, preset=PresetChoice("phi-2", True, image, ("pull",)))

    assert of_inputs(private("r.example/base:1"), None) != of_inputs(private("r.example/b:2"), None)
    assert of_inputs(private("r.example/base:1"), None) != of_inputs(TUNING, None)


LIMIT = 48 * 1024


def test_a_record_stays_small_and_long_values_still_differ() -> None:
    def of(end: str) -> str:
        urls = tuple(f"https://h/{'x' * 4000}/{n}{end}" for n in range(64))
        config: dict[str, Any] = {"LoraConfig": {f"k{n}": "v" * 300 + end for n in range(2000)}}
        return record(replace(TUNING, input=Input(urls, "", ())), config)

    assert len(of("")) < LIMIT
    words = changes(of(""), of("?new=1"))
    assert words.startswith("`tuning.input.urls` from [")
    assert len(words) < 2000


def test_many_changes_are_counted() -> None:
    old = record(TUNING, {"LoraConfig": {f"k{n}": 1 for n in range(9)}})
    new = record(TUNING, {"LoraConfig": {f"k{n}": 2 for n in range(9)}})
    assert changes(old, new).endswith("; and 4 more")
    assert changes(old, old) == changes("", new) == changes("[1]", new) == ""


def test_the_order_of_urls_is_an_input() -> None:
    urls = ("https://h/a", "https://h/b")
    old, new = (replace(TUNING, input=Input(each, "", ())) for each in (urls, urls[::-1]))
    assert of_inputs(old, None) != of_inputs(new, None)
    assert changes(record(old, None), record(new, None)) == (
        "`tuning.input.urls` from [https://h/a, https://h/b] to [https://h/b, https://h/a]"
    )


BOMB = "\n".join(
    [
        "training_config:",
        "  LoraConfig:",
        "    a0: &a0 [x, x, x, x, x, x, x, x, x, x]",
        *(f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)),
    ]
)
UNUSABLE = [
    (BOMB, "training_config.yaml must have at most 10,000 values"),
    (
        "training_config:\n  LoraConfig: &a\n    r: [*a]\n",
        "training_config.yaml has an alias that stands for what it is part of",
    ),
]


@pytest.mark.parametrize(("text", "words"), UNUSABLE, ids=["aliases", "itself"])
def test_a_configuration_that_holds_itself_or_too_much_is_refused(
    sync: Any, text: str, words: str
) -> None:
    config = config_map("params", text)
    answer = sync(
        tuning_workspace(tuning={"config": "params", "method": "lora"})
        | {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}},
        related=[config],
    )
    assert ready(answer)[1] == "ConfigInvalid"
    assert words in ready(answer)[2]
    assert len(json.dumps(answer)) < LIMIT
