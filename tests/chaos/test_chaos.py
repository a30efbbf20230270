"""Lives among random faults: whatever happens, nothing is leaked, doubled or taken from someone else."""

import pytest

from tests.chaos.driver import run
from tests.chaos.mutations import MUTATIONS

pytestmark = pytest.mark.no_cover  # Traced, half a minute takes many, and no line is added.

RUNS, CHUNKS = 300, 12
FOUND_BY = {
    "a PUT before the finalizer": 13,
    "a PUT without If-None-Match": 0,
    "a DELETE without If-Match": 19,
    "a DELETE without proof of ownership": 19,
    "unknown counts as absent": 16,
    "absent once counts as gone": 73,
    "any list of pools is believed": 8,
    "the finalizer leaves before the node is there": 0,
    "each try has a pool of its own": 1,
    "the sweep believes a list that broke off": 4,
    "the sweep finds nothing": 3,
    "the status says which pool is ours": 7,
    "a Machine on its way out is repeated as ready": 3,
    "a DELETE while AKS is at work": 2,
    "a retry that knows no pace": 15,
}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_run_breaks_a_promise(chunk: int) -> None:
    wrong = {}
    for seed in range(chunk, RUNS, CHUNKS):
        result = run(seed)
        if result.wrong:
            wrong[seed] = result.wrong
    assert wrong == {}


def test_a_seed_is_a_run() -> None:
    assert run(7) == run(7)


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_lack_of_any_rule_is_noticed(name: str) -> None:
    mutation, kind = MUTATIONS[name]
    assert kind in {found for found, _ in run(FOUND_BY[name], mutation).wrong}
