"""Lives among random faults: whatever happens, a deleted Machine leaves no pool behind."""

import random

import pytest

from aks.story import story
from kaito_laptop.arm import Fate, Fault
from machine.builders import NAME

SEEDS = 8
"""Few, for each run of the suite; more seeds make the same promise more often."""


def random_fault(chance, verb):
    kind = chance.random()
    if kind < 0.3:
        return Fault(chance.choice([500, 502, 429, 409, 404, 403]), b"<html>")
    if kind < 0.5:
        return Fault(200, chance.choice([b"{}", b"", b"[]", b'{"value":[]}']))
    if kind < 0.7:
        return Fault(is_dropped=True, is_applied=verb in ("PUT", "DELETE"))
    if verb == "PUT":
        return Fault(is_dropped=True, applied_after_seconds=chance.uniform(5, 40))
    return Fault(is_dropped=True)


def live(life, chance, deleted_at, share):
    """One life; returns once the Machine is gone."""
    while not life.is_gone:
        for verb in ("GET", "LIST", "PUT", "DELETE"):
            is_fault = chance.random() < share and life.clock.seconds() < deleted_at + 3600
            life.faults.always(verb, random_fault(chance, verb) if is_fault else None)
        if (
            life.clock.seconds() >= deleted_at
            and "deletionTimestamp" not in life.parent["metadata"]
        ):
            life.delete()
        stale = life.parent.get("status")
        life.call()
        if not life.is_gone and chance.random() < 0.2:
            life.parent = {**life.parent, "status": stale or {}}
        life.pass_time(min(life.answers[-1].get("resyncAfterSeconds", 300), 300))
        assert life.clock.seconds() < 30_000, life.status


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_no_pool_is_ever_left_behind(seed, share):
    chance = random.Random(seed)
    with story() as life:
        for _ in range(4):
            state = "Failed" if chance.random() < 0.2 else "Succeeded"
            life.faults.foretell(Fate(state, has_node=chance.random() < 0.9))
        early = chance.random() < 0.5
        live(life, chance, chance.uniform(2, 20) if early else chance.uniform(20, 2000), share)
        life.faults.always("PUT", None)
        life.pass_time(3600)
        assert life.pools == []
        assert life.nodes.by_name == {}
        created = [item for item in life.arm.asked if (item.verb, item.status) == ("PUT", 201)]
        assert all(item.pool == NAME for item in created)
