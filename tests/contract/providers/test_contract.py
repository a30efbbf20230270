"""What the decisions rely on, asked of each provider; tests/e2e asks it with a real API server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kaito_hooks.machine import errors
from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_hooks.machine.provider import Absent, Foreign, Listing, Ours, PoolRequest, Unknown

from tests.contract.providers.clouds import INSTALL, Cloud
from tests.unit.machine.builders import NAME, UID, machine

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OTHER = "6f8a7c1e-0000-4000-8000-00000000000f"
REFUSALS = ("server error", "page of a proxy", "no answer", "no cluster", "unauthorized")
TROUBLES = (*REFUSALS, "other kind")


def request(**changes: Any) -> PoolRequest:
    return wanted_pool(Machine(machine(**changes)), NOW)


REF = request().ref


def made(cloud: Cloud) -> Ours:
    """The Machine's node, finished."""
    cloud.provider.create(request())
    cloud.finish()
    return ours(cloud)


def ours(cloud: Cloud) -> Ours:
    found = cloud.provider.get(REF, fresh=True)
    assert isinstance(found, Ours), found
    return found


def names(cloud: Cloud) -> list[str]:
    listing = cloud.provider.list()
    assert isinstance(listing, Listing), listing
    return [pool.name for pool in listing.pools]


def test_what_was_never_made_is_absent(cloud: Cloud) -> None:
    assert cloud.provider.get(REF, fresh=True) == Absent()
    assert cloud.provider.get(REF, fresh=False) == Absent()


def test_what_was_asked_for_is_ours_at_once(cloud: Cloud) -> None:
    cloud.provider.create(request())
    found = ours(cloud)
    assert found.state == "Creating"
    assert found.etag
    assert not found.is_complete
    assert not found.is_failed
    assert not found.is_deleting


def test_it_is_complete_when_there_is_a_machine(cloud: Cloud) -> None:
    assert made(cloud).is_complete


def test_it_says_when_it_was_made(cloud: Cloud) -> None:
    assert made(cloud).created is not None


def test_nothing_is_made_twice_and_the_first_stays_as_it_is(cloud: Cloud) -> None:
    before = made(cloud)
    with pytest.raises(errors.AlreadyExists):
        cloud.provider.create(replace(request(), size="Standard_D4s_v5"))
    assert ours(cloud) == before
    assert names(cloud).count(NAME) == 1


def test_a_node_of_someone_else_is_foreign_and_not_replaced(cloud: Cloud) -> None:
    cloud.add_strangers(NAME)
    assert isinstance(cloud.provider.get(REF, fresh=True), Foreign)
    assert isinstance(cloud.provider.get(REF, fresh=False), Foreign)
    with pytest.raises(errors.AlreadyExists):
        cloud.provider.create(request())
    assert isinstance(cloud.provider.get(REF, fresh=True), Foreign)


def test_the_node_of_another_machine_of_that_name_is_foreign(cloud: Cloud) -> None:
    cloud.provider.create(request(metadata={"namespace": "other", "uid": OTHER, "name": NAME}))
    assert isinstance(cloud.provider.get(REF, fresh=True), Foreign)


def test_a_machine_without_uid_owns_nothing(cloud: Cloud) -> None:
    cloud.add_strangers(NAME)
    assert isinstance(cloud.provider.get(replace(REF, uid=""), fresh=True), Foreign)


def test_what_has_changed_since_it_was_read_is_not_deleted(cloud: Cloud) -> None:
    stale = made(cloud).etag
    cloud.touch(NAME)
    assert ours(cloud).etag != stale
    with pytest.raises(errors.EtagMismatch):
        cloud.provider.delete(REF, stale)
    assert not ours(cloud).is_deleting


def test_deleting_takes_its_time_and_ends(cloud: Cloud) -> None:
    cloud.provider.delete(REF, made(cloud).etag)
    assert ours(cloud).is_deleting
    cloud.finish()
    assert cloud.provider.get(REF, fresh=True) == Absent()
    assert NAME not in names(cloud)


def test_what_is_gone_can_be_deleted_again(cloud: Cloud) -> None:
    etag = made(cloud).etag
    cloud.provider.delete(REF, etag)
    cloud.finish()
    cloud.provider.delete(REF, etag)
    assert cloud.provider.get(REF, fresh=True) == Absent()


def test_without_a_version_it_is_deleted_all_the_same(cloud: Cloud) -> None:
    made(cloud)
    cloud.touch(NAME)
    cloud.provider.delete(REF, "")
    assert ours(cloud).is_deleting


def test_the_list_holds_everything_with_its_owner(cloud: Cloud) -> None:
    made(cloud)
    cloud.add_strangers("stranger")
    listing = cloud.provider.list()
    assert isinstance(listing, Listing)
    mine, stranger = listing.find(NAME), listing.find("stranger")
    assert mine
    assert stranger
    assert (list(mine.uids), mine.install) == ([UID], INSTALL)
    assert (list(stranger.uids), stranger.install) == ([], "")
    assert mine.seen.state == "Succeeded"


def test_a_list_without_anything_of_ours_proves_that_nothing_is_there(cloud: Cloud) -> None:
    listing = cloud.provider.list()
    assert isinstance(listing, Listing)
    assert listing.is_trusted
    assert listing.find(NAME) is None


@pytest.mark.parametrize("how", TROUBLES)
def test_trouble_is_unknown_and_never_absent(cloud: Cloud, how: str) -> None:
    cloud.fail(how)
    assert isinstance(cloud.provider.get(REF, fresh=True), Unknown)
    assert isinstance(cloud.provider.list(), Unknown)


@pytest.mark.parametrize("how", REFUSALS)
def test_trouble_with_a_change_is_no_success(cloud: Cloud, how: str) -> None:
    etag = made(cloud).etag
    cloud.fail(how)
    with pytest.raises(errors.ProviderError):
        cloud.provider.delete(REF, etag)


@pytest.mark.parametrize("how", REFUSALS)
def test_trouble_with_a_creation_is_no_success(cloud: Cloud, how: str) -> None:
    cloud.fail(how)
    with pytest.raises(errors.ProviderError):
        cloud.provider.create(request())


def test_a_creation_that_is_answered_by_something_else_has_no_state(cloud: Cloud) -> None:
    cloud.fail("other kind")
    assert cloud.provider.create(request()) == ""


@pytest.mark.parametrize("how", TROUBLES)
def test_trouble_has_words_for_the_owner(cloud: Cloud, how: str) -> None:
    cloud.fail(how)
    found = cloud.provider.get(REF, fresh=True)
    assert isinstance(found, Unknown)
    assert found.error.reason
    assert found.error.message("Standard_NC6s_v3")


def test_a_provider_in_good_health_has_no_trouble(cloud: Cloud) -> None:
    assert cloud.provider.unavailable_reason() == ""
