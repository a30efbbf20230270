"""What ARM's gateway answers before AKS hears of anything: always wrapped in `error`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.arm.test_stand_in import BODY, TOKEN, Client, cluster

POLICY = "only-approved-sizes"


def change(ask: Client, verb: Any) -> Any:
    return ask(verb, "/agentPools/ws0", BODY if verb == "PUT" else None)


@pytest.mark.parametrize(
    ("path", "method", "code", "said"),
    [
        ("/subscriptions/x", "GET", "SubscriptionNotFound", "'x'"),
        ("/subscriptions/{s}/resourceGroups/x", "GET", "ResourceGroupNotFound",
         "Resource group 'x' could not be found."),
        ("{c}x/agentPools/ws0", "GET", "ResourceNotFound",
         "The Resource 'Microsoft.ContainerService/managedClusters/laptopx' under resource group "
         "'laptop' was not found."),
        ("{c}x/agentPools/ws0", "PUT", "ParentResourceNotFound", "Parent resource 'laptopx' not found."),
    ],
)  # fmt: skip
def test_who_is_not_there_is_told_by_the_gateway(
    path: Any, method: Any, code: Any, said: Any
) -> None:
    with cluster() as ask:
        subscription = ask.arm.cluster.subscription.rpartition("/")[2]
        status, body = ask(method, path.format(s=subscription, c=ask.base), BODY, base="")
        assert (status, body["error"]["code"]) == (404, code)
        assert said in body["error"]["message"]


@pytest.mark.parametrize(
    ("lock", "verb", "action"),
    [
        ("", "PUT", None),
        ("", "DELETE", None),
        ("CanNotDelete", "PUT", None),
        ("CanNotDelete", "DELETE", "delete"),
        ("ReadOnly", "PUT", "write"),
        ("ReadOnly", "DELETE", "delete"),
    ],
)
def test_a_lock_keeps_pools_as_they_are(lock: Any, verb: Any, action: Any) -> None:
    with cluster() as ask:
        ask.arm.cluster.add_pool("ws0")
        ask.arm.cluster.guards.lock = lock
        status, body = change(ask, verb)
        if action is None:
            assert status in (200, 202)
            return
        assert (status, body["error"]["code"]) == (409, "ScopeLocked")
        assert (
            f"agentPools/ws0' cannot perform {action} operation because" in body["error"]["message"]
        )
        assert ask("GET", "/agentPools/ws0")[1]["properties"]["provisioningState"] == "Succeeded"


@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
def test_a_disabled_subscription_can_only_be_read(verb: Any) -> None:
    with cluster() as ask:
        ask.arm.cluster.add_pool("ws0")
        ask.arm.cluster.guards.is_subscription_disabled = True
        status, body = change(ask, verb)
        assert (status, body["error"]["code"]) == (409, "ReadOnlyDisabledSubscription")
        assert "is disabled and therefore marked as read only" in body["error"]["message"]
        assert ask("GET", "/agentPools/ws0")[0] == 200


def test_a_policy_refuses_what_it_says_and_is_named() -> None:
    with cluster() as ask:
        ask.arm.cluster.guards.policy = lambda properties: "" if properties.get("tags") else POLICY
        status, body = ask("PUT", "/agentPools/ws0", BODY)
        assert (status, body["error"]["code"]) == (403, "RequestDisallowedByPolicy")
        assert (
            "Resource 'ws0' was disallowed by policy. Policy identifiers:"
            in body["error"]["message"]
        )
        (violation,) = body["error"]["additionalInfo"]
        assert violation["type"] == "PolicyViolation"
        assert violation["info"]["policyAssignmentName"] == POLICY
        tagged = {"properties": {**BODY["properties"], "tags": {"team": "a"}}}
        assert ask("PUT", "/agentPools/ws0", tagged)[0] == 201
        assert ask("DELETE", "/agentPools/ws0")[0] == 202


def test_without_a_token_even_a_lock_is_not_told() -> None:
    with cluster() as ask:
        ask.arm.cluster.guards.lock = "ReadOnly"
        status, body = ask("DELETE", "/agentPools/ws0", headers={"X": TOKEN["Authorization"]})
        assert (status, body["error"]["code"]) == (401, "AuthenticationFailed")
