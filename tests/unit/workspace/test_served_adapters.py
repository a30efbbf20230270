"""`inference.adapters`: LoRA adapters of images, served on the base model by their names."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_hooks.errors import InvalidObject

from tests.harness import all_pods
from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    inference_workspace,
    merged,
    pod_of,
    ready_machine,
)

DIGEST = "sha256:" + "5a" * 32
TONE = {"name": "tone", "image": f"mlteam.azurecr.io/adapters/tone@{DIGEST}"}
FACTS = {
    "name": "2024-facts",
    "image": "mlteam.azurecr.io/adapters/facts:1.0",
    "imagePullSecrets": ["acr-pull"],
}
BOTH = [{"source": TONE, "strength": "0.2"}, {"source": FACTS}]
TYPE = "AdapterVerified"


def workspace(adapters: Any, **changes: Any) -> dict[str, Any]:
    return merged(inference_workspace(inference={"adapters": adapters}), changes)


def deployment(sync: Any, written: dict[str, Any]) -> dict[str, Any]:
    return child(sync(written, [ready_machine(written, "ws1")]), "Deployment")


def test_each_is_pulled_into_a_folder_of_its_name_and_served_with_its_strength(sync: Any) -> None:
    spec = deployment(sync, workspace(BOTH))["spec"]["template"]["spec"]
    weights, tone, facts = spec["initContainers"]
    assert weights["name"] == "weights"
    assert (tone["name"], facts["name"]) == ("adapter-0", "adapter-1")
    credentials = ["--credentials", "/mnt/pull-secrets/acr-pull/.dockerconfigjson"]
    for container, source in ((tone, TONE), (facts, FACTS)):
        assert container["command"] == ["python", "-m", "kaito_runtime.transfer.pull"]
        assert container["args"] == [
            *("adapter", "--image", source["image"], "--to", f"/mnt/adapter/{source['name']}"),
            *credentials,
        ]
    (main,) = spec["containers"]
    line = main["args"]
    assert line[line.index("--adapters") :][:6] == [
        *("--adapters", "/mnt/adapter", "--strength", "tone=0.2", "--strength", "2024-facts=1.0")
    ]
    assert "pull-secret-0" not in {mount["name"] for mount in main["volumeMounts"]}
    sizes = {each["name"]: each.get("emptyDir", {}).get("sizeLimit") for each in spec["volumes"]}
    assert sizes["adapters"] == "8Gi"


def test_another_adapter_changes_the_pods_and_asks_for_no_node(sync: Any) -> None:
    before = workspace(BOTH[:1])
    machine = ready_machine(before, "ws1")
    first = sync(before, [machine])
    there = [as_observed(each) for each in first["children"]]
    after = merged(before, {"inference": {"adapters": BOTH}})
    answer = sync(after, [machine, *(each for each in there if each["kind"] != "Machine")])
    assert kinds(answer) == kinds(first)
    old, new = child(first, "Deployment"), child(answer, "Deployment")
    assert len(new["spec"]["template"]["spec"]["initContainers"]) == 3
    assert old["spec"]["selector"] == new["spec"]["selector"]


def test_vllm_keeps_room_for_each() -> None:
    def context(adapters: Any, name: str = "mistral-7b") -> int:
        written = workspace(
            adapters,
            metadata={"annotations": {"kaito.sh/runtime": "vllm"}},
            inference={"preset": {"name": name}},
            resource={"instanceType": "Standard_NV36ads_A10_v5"},
        )
        plan = all_pods.request_of(written).vllm
        assert plan
        assert plan.context
        return plan.context

    # A token of mistral-7b takes 2 x 32 layers x 8 heads x 128 x 2 bytes.
    assert context(BOTH[:1]) - context(BOTH) == pytest.approx(2**30 / 131072, abs=16)
    with pytest.raises(InvalidObject, match="vLLM serves falcon-7b, and no adapter of it"):
        context(BOTH, "falcon-7b")


SOURCES = [
    ({}, "`inference.adapters[0].source.name` must be"),
    ({"source": {"name": "a_b", "image": "r.io/a:1"}}, "must be letters, digits and '-'"),
    ({"source": {"name": "base", "image": "r.io/a:1"}}, "must not be 'base'"),
    ({"source": {"name": "default", "image": "r.io/a:1"}}, "must not be 'default'"),
    ({"source": {"name": "a"}}, "`inference.adapters[0].source.image` must be specified"),
    ({"source": {"name": "a", "image": "https://r.io/a:1"}}, "must be written without 'https://'"),
    ({"source": {"name": "a", "image": "r.io/a:1"}, "strength": "2"}, "from 0 to 1"),
    ({"source": {"name": "a", "image": "r.io/a:1"}, "strength": "half"}, "found 'half'"),
]


@pytest.mark.parametrize(("adapter", "words"), SOURCES)
def test_what_cannot_be_served_is_said_before_a_node_is_asked_for(
    sync: Any, adapter: dict[str, Any], words: str
) -> None:
    answer = sync(workspace([adapter]))
    assert ready(answer)[:2] == ("False", "AdaptersInvalid")
    assert words in ready(answer)[2]
    assert kinds(answer) == []


def test_two_of_one_name_are_refused(sync: Any) -> None:
    answer = sync(workspace([{"source": TONE}, {"source": TONE}]))
    assert ready(answer)[1] == "AdaptersInvalid"
    assert "'tone' more than once" in ready(answer)[2]


def test_they_are_verified_when_the_pod_that_has_them_is_ready(sync: Any) -> None:
    written = workspace(BOTH)
    machine = ready_machine(written, "ws1")
    made = deployment(sync, written)
    assert of(sync(written, [machine]), TYPE)[:2] == ("Unknown", "AdapterPending")
    there = as_observed(
        made,
        status={"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1},
    )
    found = of(sync(written, [machine, there]), TYPE)
    assert found[:2] == ("True", "AdapterVerified")
    assert "tone, 2024-facts" in found[2]
    none = sync(inference_workspace(), [ready_machine(inference_workspace(), "ws1")])
    assert TYPE not in {each["type"] for each in none["status"]["conditions"]}


def test_one_that_does_not_fit_the_base_is_named(sync: Any) -> None:
    written = workspace(BOTH)
    machine = ready_machine(written, "ws1")
    made = deployment(sync, written)
    said = {"reason": "AdapterInvalid", "message": 'the adapter "tone" was tuned on other weights'}
    pod = pod_of(made, (written["metadata"]["name"], 1, said), phase="Running")
    there = as_observed(made, status={"observedGeneration": 1, "replicas": 1, "readyReplicas": 0})
    found = of(sync(written, [machine, there], [pod]), TYPE)
    assert found == ("False", "AdapterInvalid", 'the adapter "tone" was tuned on other weights')
    other = merged(written, {"inference": {"adapters": BOTH[:1]}})
    assert of(sync(other, [machine, there], [pod]), TYPE)[:2] == ("Unknown", "AdapterPending")
