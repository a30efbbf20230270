"""NodeClaims: what is asked for, what is read out of them, and what each answer stands for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import errors, reasons
from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_hooks.machine.provider import Absent, Listing, Ours, Unknown
from kaito_hooks.providers.karpenter import claims
from kaito_hooks.providers.karpenter.provider import KarpenterProvider

from tests.contract.providers.clouds import claim_settings, claims_in_memory
from tests.contract.providers.kube_api import NO_SUCH_CLAIM
from tests.contract.providers.test_contract import NOW, REF, request
from tests.unit.machine.builders import NAME, SIZE, UID, machine


def test_a_node_claim_is_one_node_that_karpenter_leaves_alone() -> None:
    claim = claims.body(request(), claim_settings())
    assert claim == {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {
            "name": NAME,
            "labels": {
                "kaito.sh/workspace": "tuning-phi-3",
                "kaito.sh/workspacenamespace": "ml",
                "kaito.sh/machine-type": "gpu",
                "kaito.sh/machine-uid": UID,
                "kaito.sh/install": "test",
            },
            "annotations": {
                "karpenter.sh/do-not-disrupt": "true",
                "kaito.sh/machine": f"ml.{NAME}",
            },
        },
        "spec": {
            "nodeClassRef": {
                "group": "karpenter.azure.com",
                "kind": "AKSNodeClass",
                "name": "default",
            },
            "requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [SIZE]},
                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
            ],
            "expireAfter": "Never",
            "terminationGracePeriod": "10m",
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "resources": {"requests": {"nvidia.com/gpu": "1"}},
        },
    }


def test_a_size_without_gpu_asks_for_none() -> None:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In"}
    small = machine(spec={"requirements": [{**requirement, "values": ["Standard_D4s_v5"]}]})
    claim = claims.body(wanted_pool(Machine(small), NOW), claim_settings())
    assert "resources" not in claim["spec"]


@pytest.mark.parametrize(
    ("type_", "reason_", "message", "status", "expected"),
    [
        ("Launched", "LaunchFailed", "creating instance, boom", "Unknown", "Unknown"),
        ("Launched", "LaunchFailed", "boom", "False", "False"),
        ("Registered", "NodeNotFound", "Node not registered with cluster", "Unknown", "Unknown"),
        ("Initialized", "ResourceNotRegistered", 'Resource "nvidia.com/gpu"', "Unknown", "Unknown"),
        ("Initialized", "ANewReason", "", "False", "False"),
        ("Launched", "", "", "Nonsense", "Unknown"),
    ],
)
def test_a_condition_keeps_its_reason_and_gets_words(
    type_: str, reason_: str, message: str, status: str, expected: str
) -> None:
    claim = claims.body(request(), claim_settings())
    claim["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    told = {"type": type_, "reason": reason_, "message": message, "status": status}
    claim["status"] = {"conditions": [told]}
    listed = claims.read_claim(claim)
    assert listed
    (phase,) = (each for each in listed.seen.conditions if each.type == f"Machine{type_}")
    assert (phase.status, phase.reason) == (expected, reason_ or "AwaitingReconciliation")
    assert phase.message
    assert message in phase.message
    assert "{size}" not in phase.message


@pytest.mark.parametrize("missing", ["name", "uid", "resourceVersion"])
def test_what_has_no_name_uid_or_version_is_no_node_claim(missing: str) -> None:
    whole = {"name": NAME, "uid": "u", "resourceVersion": "1"}
    assert claims.read_claim({"metadata": whole})
    assert claims.read_claim({"metadata": {**whole, missing: ""}}) is None


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, {"reason": "Unauthorized"}, errors.Unauthorized),
        (403, {"reason": "Forbidden"}, errors.Forbidden),
        (422, {"reason": "Invalid"}, errors.InvalidRequest),
        (400, {"reason": "BadRequest"}, errors.InvalidRequest),
        (409, {"reason": "AlreadyExists"}, errors.AlreadyExists),
        (429, {"reason": "TooManyRequests"}, errors.Throttled),
        (500, {"reason": "InternalError"}, errors.Unanswered),
        (504, {"reason": "Timeout"}, errors.Unanswered),
        (404, {"reason": "NotFound", "details": {}}, errors.ConfigError),
        (302, {}, errors.Unanswered),
    ],
)
def test_each_refusal_is_a_trouble_with_the_api_servers_words(
    status: int, said: dict[str, Any], kind: type[errors.ProviderError]
) -> None:
    with claims_in_memory() as (cloud, api, _):
        whole = {"kind": "Status", "message": "because of this", "code": status, **said}
        api.headers = {"Retry-After": "7"}
        api.faults = [(status, json.dumps(whole).encode())]
        with pytest.raises(errors.ProviderError) as caught:
            cloud.provider.create(request())
        assert isinstance(caught.value, kind)
        assert "Kubernetes says: because of this" in caught.value.message(SIZE)
        assert "Azure" not in caught.value.message(SIZE)
        assert caught.value.wait == 7
        assert len(api.asked) == 0, "one request, and no second one"
        assert not api.faults


def test_a_list_of_many_pages_is_read_to_its_end() -> None:
    with claims_in_memory() as (cloud, api, _):
        for index in range(7):
            cloud.add_strangers(f"stranger{index}")
        api.page = 3
        listing = cloud.provider.list()
        assert isinstance(listing, Listing)
        assert len(listing.pools) == 7


def test_a_list_that_breaks_off_proves_nothing() -> None:
    with claims_in_memory() as (cloud, api, _):
        for index in range(4):
            cloud.add_strangers(f"stranger{index}")
        page = (
            b'{"kind":"NodeClaimList","metadata":{"resourceVersion":"1","continue":"2"},"items":[]}'
        )
        api.faults = [(200, page), (410, b'{"kind":"Status","reason":"Expired","code":410}')]
        assert isinstance(cloud.provider.list(), Unknown)


def test_deleting_without_a_version_still_names_the_uid() -> None:
    with claims_in_memory() as (cloud, _, _):
        cloud.add_strangers(NAME)
        with pytest.raises(errors.EtagMismatch):
            cloud.provider.delete(REF, "")
        listing = cloud.provider.list()
        assert isinstance(listing, Listing)
        assert listing.find(NAME)


def test_events_that_can_not_be_read_leave_what_is_absent_absent() -> None:
    with claims_in_memory() as (cloud, api, _):
        api.faults = [(404, NO_SUCH_CLAIM), (403, b'{"kind":"Status","code":403}')]
        assert cloud.provider.get(REF, fresh=True) == Absent()


def test_an_api_server_that_is_not_there_is_unknown() -> None:
    with claims_in_memory() as (cloud, _, _):
        provider = cloud.provider
    found = provider.get(REF, fresh=True)
    assert isinstance(found, Unknown)
    assert found.error.reason == reasons.UNREACHABLE


def test_outside_of_a_pod_there_is_no_token_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    provider = KarpenterProvider(claim_settings(), lambda: NOW)
    assert "token" in provider.unavailable_reason()
    found = provider.get(REF, fresh=True)
    assert isinstance(found, Unknown)
    assert found.error.reason == reasons.CREDENTIAL_UNAVAILABLE
    assert not isinstance(provider.list(), Listing)


def test_phases_are_told_until_the_node_was_ready() -> None:
    with claims_in_memory() as (cloud, _, _):
        cloud.provider.create(request())
        found = cloud.provider.get(REF, fresh=True)
        assert isinstance(found, Ours)
        assert {each.type for each in found.conditions} == set(types.LIFECYCLE)
