"""What may pass is tried again by the Job, what a person must mend is not."""

from pathlib import Path
from typing import Any, Never

import pytest

from kaito_contract.reasons import Reason
from kaito_laptop.registry.server import Registry
from kaito_runtime.pod.termination import Failure, Retryable
from kaito_runtime.transfer import push
from kaito_runtime.transfer.credentials import find_credential
from kaito_runtime.transfer.pull import pull_image, pull_urls
from kaito_runtime.transfer.transport import Transport

from tests.unit.runtime.conftest import FailureOf, Web


@pytest.mark.parametrize(
    ("statuses", "may_pass"),
    [([503] * 5, True), ([429] * 5, True), ([500] * 5, True), ([404], False), ([403], False)],
)
def test_a_url_is_tried_again_after_what_its_server_may_get_over(
    web: Web,
    tmp_path: Path,
    transport: Transport,
    failure_of: FailureOf,
    statuses: list[int],
    may_pass: bool,
) -> None:
    web.files["/rows.jsonl"] = b"{}"
    web.failures = list(statuses)
    failure = failure_of(pull_urls, [web.url("/rows.jsonl")], tmp_path, transport)
    assert isinstance(failure, Retryable) == may_pass
    assert failure.reason is Reason.DATA_UNREACHABLE


def test_a_registry_that_does_not_answer_may_do_so_later(
    tmp_path: Path, transport: Transport, failure_of: FailureOf
) -> None:
    failure = failure_of(pull_image, "127.0.0.1:1/a:v1", "/data", tmp_path, [], transport)
    assert isinstance(failure, Retryable)


def test_an_image_that_is_not_there_is_for_a_person(
    registry: Registry,
    credentials: Path,
    tmp_path: Path,
    transport: Transport,
    failure_of: FailureOf,
) -> None:
    image = f"{registry.address}/team/absent:v1"
    failure = failure_of(pull_image, image, "/data", tmp_path, [credentials], transport)
    assert not isinstance(failure, Retryable)


def test_a_secret_may_come_later_and_one_that_is_wrong_is_for_a_person(
    tmp_path: Path, failure_of: FailureOf
) -> None:
    path = tmp_path / ".dockerconfigjson"
    missing = failure_of(find_credential, [path], "registry.example.com")
    assert isinstance(missing, Retryable)
    assert missing.reason is Reason.CREDENTIALS_MISSING
    path.write_text("{")
    assert not isinstance(failure_of(find_credential, [path], "registry.example.com"), Retryable)


def test_a_push_waits_for_its_registry_and_trains_nothing_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = [Retryable(Reason.REGISTRY_UNREACHABLE, "no answer")] * 2

    def attempt() -> dict[str, Any]:
        if troubles:
            raise troubles.pop()
        return {"digest": "sha256:1"}

    assert push.with_retries(attempt, [0, 0, 0]) == {"digest": "sha256:1"}
    assert caplog.text.count("no answer; retrying in 0 s") == 2


@pytest.mark.parametrize("kind", [Retryable, Failure])
def test_a_push_ends_with_its_last_failure(kind: type[Failure]) -> None:
    attempts = []

    def attempt() -> Never:
        attempts.append(1)
        raise kind(Reason.PUSH_DENIED, "403")

    with pytest.raises(kind):
        push.with_retries(attempt, [0, 0])
    assert len(attempts) == (3 if kind is Retryable else 1)


def test_a_push_gives_up_after_about_an_hour() -> None:
    assert 45 * 60 <= sum(push.PAUSES_SECONDS) <= 75 * 60
    assert list(push.PAUSES_SECONDS) == sorted(push.PAUSES_SECONDS)
