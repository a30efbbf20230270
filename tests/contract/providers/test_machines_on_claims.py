"""A Machine whose node Karpenter makes, from nothing to nothing, in good and in bad times."""

from __future__ import annotations

import pytest

from kaito_laptop.core.cluster import Key

from tests.contract.providers.claim_simulation import simulated_claim
from tests.contract.providers.kube_api import NO_SUCH_CLAIM
from tests.unit.machine.builders import NAME, condition, reason

SPOT = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "on-demand"]}


def test_a_life_from_nothing_to_nothing() -> None:
    with simulated_claim() as it:
        it.sync()
        assert reason(it.status, "MachineLaunched") == "Unknown/AwaitingReconciliation"
        it.karpenter.work()
        it.later(15)
        assert reason(it.status) == "True/NodeReady"
        assert it.status["nodeName"] == f"aks-{NAME}"
        it.delete()
        it.later(300)
        assert reason(it.status) == "False/Deleting"
        it.karpenter.work()
        assert it.claims() == []
        it.later(15)
        assert not it.is_gone, "one look is no proof"
        it.later(46)
        assert it.is_gone
        assert (it.count("POST"), it.count("DELETE")) == (1, 1)


@pytest.mark.parametrize(
    ("phase", "why", "expected"),
    [
        ("Launched", "LaunchFailed", "Unknown/LaunchFailed"),
        ("Registered", "NodeNotFound", "Unknown/NodeNotFound"),
        ("Initialized", "ResourceNotRegistered", "Unknown/ResourceNotRegistered"),
    ],
)
def test_karpenters_reasons_are_the_machines(phase: str, why: str, expected: str) -> None:
    with simulated_claim() as it:
        it.sync()
        it.karpenter.holds[NAME] = (phase, why)
        it.karpenter.work()
        it.later(15)
        assert reason(it.status, f"Machine{phase}") == expected
        assert reason(it.status) == expected
        assert f"words about {why}" in condition(it.status, "Ready")["message"]
        it.karpenter.holds.clear()
        it.karpenter.work()
        it.later(15)
        assert reason(it.status) == "True/NodeReady"


def test_a_node_that_takes_long_to_join_is_karpenters_to_give_up() -> None:
    with simulated_claim() as it:
        it.sync()
        it.karpenter.holds[NAME] = ("Registered", "NodeNotFound")
        it.karpenter.work()
        for _ in range(8):
            it.later(600)
        assert it.count("DELETE") == 0


def test_a_node_claim_that_karpenter_takes_back_says_why_and_waits() -> None:
    with simulated_claim() as it:
        it.sync()
        it.karpenter.takes_back[NAME] = "InsufficientCapacityError"
        it.karpenter.work()
        answer = it.later(15)
        assert reason(it.status) == "False/InsufficientCapacity"
        assert (
            "Karpenter says: no such machine in any zone"
            in condition(it.status, "Ready")["message"]
        )
        assert answer["resyncAfterSeconds"] >= 500
        it.later(300)
        assert it.count("POST") == 1
        it.karpenter.takes_back.clear()
        it.later(400)
        it.karpenter.work()
        it.later(15)
        assert it.count("POST") == 2
        assert reason(it.status) == "True/NodeReady"


def test_without_a_free_spot_node_a_regular_one_is_asked_for_at_once() -> None:
    with simulated_claim() as it:
        it.parent["spec"]["requirements"].append(SPOT)
        it.sync()
        kinds = [it.claims()[0]["spec"]["requirements"][2]["values"]]
        it.karpenter.takes_back[NAME] = "InsufficientCapacityError"
        it.karpenter.work()
        it.later(15)
        kinds.append(it.claims()[0]["spec"]["requirements"][2]["values"])
        assert kinds == [["spot"], ["on-demand"]]


def test_an_old_event_says_nothing_of_a_node_claim_that_is_missing_now() -> None:
    with simulated_claim() as it:
        it.sync()
        it.karpenter.takes_back[NAME] = "InsufficientCapacityError"
        it.karpenter.work()
        it.later(240)
        assert reason(it.status) != "False/InsufficientCapacity"


def test_a_node_claim_that_someone_deletes_is_made_again_when_that_is_certain() -> None:
    with simulated_claim() as it:
        it.sync()
        it.karpenter.work()
        it.later(15)
        it.cluster.delete(Key(it.cluster.resource("karpenter.sh/v1", "NodeClaim"), NAME))
        it.karpenter.work()
        it.later(15)
        assert it.count("POST") == 1
        it.later(60)
        assert it.count("POST") == 2


def test_a_node_that_was_ready_and_reports_no_more_is_lost_after_ten_minutes() -> None:
    with simulated_claim() as it:
        it.sync()
        it.karpenter.work()
        it.later(15)
        node = it.cluster.get(Key(it.cluster.resource("v1", "Node"), f"aks-{NAME}"))
        node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
        it.cluster.update_status(node)
        it.later(15)
        assert reason(it.status) == "False/NodeNotReady"
        it.later(660)
        assert reason(it.status) == "False/NodeLost"


def test_an_answer_that_is_lost_makes_no_second_node_claim() -> None:
    with simulated_claim() as it:
        it.api.applies = True
        it.api.faults = [(404, NO_SUCH_CLAIM), (200, b'{"items": []}'), None]
        it.sync()
        it.later(15)
        assert len(it.claims()) == 1
        assert reason(it.status, "MachineLaunched") == "Unknown/AwaitingReconciliation"


def test_without_karpenter_nothing_is_made_and_nothing_is_let_go() -> None:
    with simulated_claim() as it:
        definitions = it.cluster.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        crd = it.cluster.get(Key(definitions, "nodeclaims.karpenter.sh"))
        crd["metadata"]["finalizers"] = []
        it.cluster.update(crd)
        it.cluster.delete(Key(definitions, "nodeclaims.karpenter.sh"))
        it.sync()
        assert reason(it.status, "ProviderTrouble") == "True/ConfigError"
        assert "Karpenter" in condition(it.status, "ProviderTrouble")["message"]
        it.delete()
        for _ in range(5):
            it.later(300)
            assert not it.is_gone
