"""A reason of a program is written once; hook, documentation and exit code follow from it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_contract import termination
from kaito_contract.reasons import Reason
from kaito_hooks.api.pods import Ended
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.children.jobs import explain

from tests.harness.wire import ROOT

RUNTIME = ROOT / "runtime-images"


@pytest.mark.parametrize("reason", Reason)
def test_the_hook_tells_every_reason_of_a_program_with_its_words(reason: Reason) -> None:
    end = ended(termination.failure(reason, "the words"))
    assert explain(end, reasons.TUNING_FAILED) == (reason, "the words")
    assert {reason} <= reasons.PROGRAM_FAILED & reasons.IDLE_CAUSES
    assert (reason in reasons.NEEDS_PERSON) is reason.needs_person


def test_a_reason_of_a_newer_runtime_is_named_below_the_one_that_the_hook_knows() -> None:
    end = ended('{"reason": "DataTooOld", "message": "rows of 1970"}')
    words = "The container 'train' failed: DataTooOld: rows of 1970"
    assert explain(end, reasons.TUNING_FAILED) == (reasons.TUNING_FAILED, words)
    assert reasons.TUNING_FAILED in reasons.PROGRAM_FAILED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Segmentation fault", "Segmentation fault"),
        ("", "exit code 1"),
        ('["DataEmpty"]', '["DataEmpty"]'),
        ('{"reason": 3, "message": "m"}', "m"),
        ('{"message": "m"}', "m"),
    ],
)
def test_a_message_in_another_form_is_told_as_it_is(text: str, words: str) -> None:
    told = explain(ended(text), reasons.CHECK_FAILED)
    assert told == (reasons.CHECK_FAILED, f"The container 'train' failed: {words}")


def test_every_reason_is_raised_somewhere_and_only_what_may_pass_as_retryable() -> None:
    assert {name for name, _ in uses()} == set(Reason.__members__)
    retried = {name for name, function in uses() if function == "Retryable"}
    assert retried
    assert all(Reason[name].retryable for name in retried)


def test_no_hook_and_no_document_knows_a_reason_by_hand() -> None:
    """Adding one touches contract/kaito_contract/reasons.py and the place that raises it."""
    for path in (ROOT / "hooks").rglob("*.py"):
        constants = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert constants & set(Reason) == set(), path


def test_the_contract_imports_the_standard_library_alone() -> None:
    for path in (ROOT / "contract").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names} - {"kaito_contract"}
            assert tops <= sys.stdlib_module_names, path


@given(st.text(max_size=3000), st.sampled_from(list(Reason)))
def test_a_message_is_read_as_it_was_written_within_the_limit(words: str, reason: Reason) -> None:
    text = termination.failure(reason, words)
    found = termination.parse(text)
    assert len(text.encode()) <= termination.LIMIT_BYTES
    assert found.known_reason is reason
    if len(text) < termination.LIMIT_BYTES // 2:
        assert found.message == words


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_any_text_is_read(text: str) -> None:
    found = termination.parse(text)
    assert isinstance(found.report, dict)


@pytest.mark.parametrize("text", ['{"message": "\\ud800"}', '{"reason": "\\udfff"}', "[" * 4096])
def test_what_no_answer_could_carry_is_no_message(text: str) -> None:
    assert termination.parse(text) == termination.Ending("", "", {})


def test_a_number_of_more_than_64_bits_can_be_written_again() -> None:
    assert termination.parse('{"steps": 99999999999999999999}').report == {"steps": 1e20}


def ended(message: str) -> Ended:
    return Ended("train", 1, "Error", message, termination.parse(message))


def uses() -> Iterator[tuple[str, str]]:
    """The name of each `Reason` that the runtime mentions, with the function that it is an argument of."""
    for path in RUNTIME.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if name := reason_named(node):
                yield name, ""
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from (
                    (name, node.func.id) for each in node.args if (name := reason_named(each))
                )


def reason_named(node: ast.AST) -> str:
    match node:
        case ast.Attribute(value=ast.Name(id="Reason"), attr=name):
            return name
    return ""
