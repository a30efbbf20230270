"""How long what may pass is tried again."""

from __future__ import annotations

import pytest

from tests.harness.story import NAME, TUNING, Story
from tests.stories.test_late_arrivals import NO_ANSWER, NO_SECRET, another_pod, check_meets

pytestmark = pytest.mark.clusters("memory", reason="a Job takes an hour for its retries")


def test_a_registry_that_does_not_answer_is_asked_again_and_then_left_to_a_person(
    story: Story,
) -> None:
    story.apply(TUNING)
    tries = 0
    while not story.is_true(NAME, "Stalled"):
        check_meets(story, NO_ANSWER)
        tries += 1
        words = story.says("RegistryUnreachable")
        if not story.is_true(NAME, "Stalled"):
            assert "Retrying, with growing pauses" in words
            another_pod(story)
    assert tries == 13
    assert "After fixing that, run it again: kubectl annotate workspace" in words
    assert story.machines() == []


def test_a_secret_is_waited_for_longer_than_a_job_can_retry(story: Story) -> None:
    story.apply(TUNING)
    first = story.get("Job", f"{NAME}-check")["metadata"]["uid"]
    for _ in range(12):
        check_meets(story, NO_SECRET)
        another_pod(story)
    check_meets(story, NO_SECRET)
    assert story.says("CredentialsMissing")
    story.becomes("Reconciling")
    waits = f"{NAME}-check"
    story.run_until(
        lambda: any(pod["status"]["phase"] == "Pending" for pod in story.pods(waits)),
        within=2 * 3600,
    )
    assert story.get("Job", waits)["metadata"]["uid"] != first
    story.check_succeeds()
    story.becomes("InputsChecked")
