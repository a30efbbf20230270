"""API keys and limits of clients: from the annotations to the server."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_hooks.workspace.children.inference import with_access
from kaito_hooks.workspace.client_access import ClientAccess, client_access

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    inference_workspace,
    merged,
    ready_machine,
    tuning_workspace,
)
from tests.unit.workspace.test_runtime import ask as ask_hook
from tests.unit.workspace.test_runtime import by_vllm, client, lora, served_after_tuning
from tests.unit.workspace.test_tuning import (
    DIGEST,
    NAME,
    Lived,
    hash_of,
    rolled_out,
    served,
    with_new_secret,
)

KEYS = "kaito.sh/api-keys-secret"
RATE, CONCURRENT = "kaito.sh/requests-per-minute", "kaito.sh/concurrent-requests"
ALL = {KEYS: "chat-keys", RATE: "60", CONCURRENT: "4"}
FLAGS = [
    *("--api-keys", "/mnt/api-keys/api-keys"),
    *("--requests-per-minute", "60"),
    *("--concurrent-requests", "4"),
]
SERVED = inference_workspace()


@pytest.fixture
def lived(sync: Any) -> Lived:
    return Lived(sync)


def annotated(workspace: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    return merged(workspace, {"metadata": {"annotations": annotations}})


def spec_of(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = child(answer, "Deployment")["spec"]["template"]["spec"]
    return found


def adjacent(words: list[str], wanted: list[str]) -> bool:
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


# What is passed


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_each_runtime_gets_the_keys_and_the_limits(runtime: str) -> None:
    answer = ask_hook(client(), annotated(by_vllm(SERVED, runtime), ALL))
    spec = spec_of(answer)
    (main,) = spec["containers"]
    assert adjacent(main["args"], FLAGS)
    assert ("vllm" in main["args"]) == (runtime == "vllm")
    (volume,) = [each for each in spec["volumes"] if each["name"] == "api-keys"]
    assert volume["secret"] == {
        "secretName": "chat-keys",
        "defaultMode": 0o440,
        "items": [{"key": "api-keys", "path": "api-keys"}],
    }
    mount = {"name": "api-keys", "mountPath": "/mnt/api-keys", "readOnly": True}
    assert mount in main["volumeMounts"]
    assert all(mount not in each["volumeMounts"] for each in spec["initContainers"])
    # The kubelet has no key, and these paths need none.
    probes = {main[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")}
    assert probes == {"/readyz"}
    assert main["livenessProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize(
    ("annotations", "flags"),
    [
        ({KEYS: "chat-keys"}, FLAGS[:2]),
        ({RATE: "60"}, FLAGS[2:4]),
        ({CONCURRENT: "4"}, FLAGS[4:]),
    ],
    ids=["keys", "rate", "concurrent"],
)
def test_each_annotation_is_one_flag(
    sync: Any, annotations: dict[str, str], flags: list[str]
) -> None:
    nodes = [ready_machine(SERVED, "ws1")]
    plain = spec_of(sync(SERVED, nodes))["containers"][0]["args"]
    with_it = spec_of(sync(annotated(SERVED, annotations), nodes))["containers"][0]["args"]
    assert adjacent(with_it, flags)
    assert len(with_it) == len(plain) + 2
    assert not set(FLAGS) & set(plain)


def test_a_tuned_model_has_them_and_neither_check_nor_trainer(lived: Lived) -> None:
    changed = {"metadata": {"annotations": ALL}}
    assert adjacent(
        spec_of(lived.ask(lived.tuned, lived.pods, **changed))["containers"][0]["args"], FLAGS
    )
    job = child(lived.ask(lived.with_node, [lived.check_pod], **changed), "Job")
    assert "api-keys" not in str(job)


def test_the_keys_reach_vllm_beside_an_adapter() -> None:
    tuned = by_vllm(tuning_workspace(), **lora("mistral-7b", "Standard_NC24ads_A100_v4"))
    args = served_after_tuning(client(), annotated(tuned, ALL))["args"]
    assert adjacent(args, FLAGS)
    assert {"--adapters", "vllm"} <= set(args)


def test_on_a_workspace_that_serves_nothing_they_change_nothing(sync: Any) -> None:
    unserved = Lived(sync, tuning={"serve": False}, metadata={"annotations": ALL})
    answer = unserved.ask(unserved.tuned, unserved.pods)
    assert ready(answer)[:2] == ("True", "WorkspaceReady")


@pytest.mark.parametrize("annotations", [ALL, {KEYS: "others"}, {RATE: "1"}], ids=str)
def test_they_are_no_input_of_a_tuning(sync: Any, annotations: dict[str, str]) -> None:
    assert hash_of(sync, {"metadata": {"annotations": annotations}}) == hash_of(sync, {})


def test_a_changed_annotation_changes_the_deployment_and_nothing_else(lived: Lived) -> None:
    children, status = served(lived)
    before = lived.ask(children, lived.pods, status=status)
    after = lived.ask(
        children, lived.pods, status=status, metadata={"annotations": {KEYS: "chat-keys"}}
    )
    changed = [
        kind
        for old, new, (kind, _) in zip(
            before["children"], after["children"], kinds(before), strict=True
        )
        if old != new
    ]
    assert changed == ["Deployment"]
    assert kinds(before) == kinds(after)
    assert of(after, "InferenceReady")[:2] == ("False", "InferenceLoading")
    rolled = as_observed(child(after, "Deployment"), status=rolled_out(1))
    settled = [item for item in children if item["kind"] != "Deployment"]
    answer = lived.ask(
        [*settled, rolled], lived.pods, status=status, metadata={"annotations": {KEYS: "chat-keys"}}
    )
    assert ready(answer)[0] == "True"
    assert DIGEST in of(answer, "AdapterVerified")[2]


def test_the_server_of_the_previous_adapter_has_them_too(lived: Lived) -> None:
    """Keys that are added while new inputs are checked, or after their tuning has failed, must not wait for them."""
    children, status = served(lived)

    def ask(there: list[Any], **annotations: str) -> dict[str, Any]:
        changed = {"generation": 2, "annotations": {"kaito.sh/retry": "1", **annotations}}
        return lived.ask(there, [], status=status, metadata=changed)

    def rolled(answer: dict[str, Any]) -> list[Any]:
        deployment = as_observed(child(answer, "Deployment"), status=rolled_out(1))
        return [*(item for item in others if item["kind"] != "Deployment"), deployment]

    others = [item for item in children if item["kind"] != "Job"]
    others = with_new_secret(ask(others), others)
    plain = ask(others)
    assert child(plain, "Deployment") == child(lived.ask(children, lived.pods), "Deployment")
    keyed = ask(others, **ALL)
    main = spec_of(keyed)["containers"][0]
    assert adjacent(main["args"], FLAGS)
    assert "chat-keys" in str(spec_of(keyed)["volumes"])
    assert "/mnt/api-keys" in str(main["volumeMounts"])
    assert of(keyed, "InferenceReady")[:2] == ("False", "InferenceLoading")
    there = rolled(keyed)
    assert child(ask(there, **ALL), "Deployment") == child(keyed, "Deployment"), "a fixed point"
    assert of(ask(there, **ALL), "InferenceReady")[0] == "True"
    other = ask(there, **{**ALL, KEYS: "other-keys", RATE: "7"})
    assert "chat-keys" not in str(spec_of(other))
    assert adjacent(spec_of(other)["containers"][0]["args"], ["--requests-per-minute", "7"])
    assert child(ask(there), "Deployment") == child(plain, "Deployment"), "taken away again"


def test_what_a_server_was_started_with_is_not_rolled_for_its_order(lived: Lived) -> None:
    keyed = {"annotations": ALL}
    rendered = child(lived.ask(lived.tuned, lived.pods, metadata=keyed), "Deployment")
    access = client_access(ALL, is_private=False)
    assert with_access(rendered, access) == rendered
    assert with_access(with_access(rendered, ClientAccess()), access) == rendered


# What is refused


REFUSED = [
    (KEYS, "Chat_Keys", "the name of a Secret of this namespace whose key `api-keys` holds one"),
    (KEYS, "", "found ''. To do without, remove it"),
    (KEYS, "team/keys", "found 'team/keys'"),
    (KEYS, "a" * 254, "the name of a Secret"),
    (KEYS, "-keys", "the name of a Secret"),
    (RATE, "0", "a whole number from 1 to 999999999, such as '60', found '0'"),
    (RATE, "many", "found 'many'"),
    (RATE, "", "found ''"),
    (RATE, "1.5", "found '1.5'"),
    (RATE, " 60", "found ' 60'"),
    (RATE, "1000000000", "found '1000000000'"),
    (CONCURRENT, "-1", "found '-1'"),
    (CONCURRENT, "٣", "found '٣'"),
    (CONCURRENT, "4\n", "a whole number"),
]


@pytest.mark.parametrize(("key", "value", "words"), REFUSED, ids=[str(row[:2]) for row in REFUSED])
@pytest.mark.parametrize("workspace", [SERVED, tuning_workspace()], ids=["inference", "tuning"])
def test_a_value_that_can_not_be_is_told_before_any_node(
    sync: Any, workspace: dict[str, Any], key: str, value: str, words: str
) -> None:
    answer = sync(annotated(workspace, {key: value}))
    assert ready(answer)[:2] == ("False", "AnnotationInvalid")
    assert f"The annotation `{key}` must be " in ready(answer)[2]
    assert words in ready(answer)[2]
    assert of(answer, "Stalled")[0] == "True"
    assert kinds(answer) == []


@pytest.mark.parametrize("value", ["keys", "k", "team.keys-2", "a" * 253])
def test_any_name_of_a_secret_is_taken(sync: Any, value: str) -> None:
    answer = sync(annotated(SERVED, {KEYS: value}), [ready_machine(SERVED, "ws1")])
    assert value in str(spec_of(answer)["volumes"])


@pytest.mark.parametrize("key", ALL)
def test_an_image_of_your_own_takes_none_of_them(sync: Any, key: str) -> None:
    """Or its clients would believe in keys that nobody asks for."""
    choice = {
        "name": "falcon-7b",
        "accessMode": "private",
        "presetOptions": {"image": "mlteam.azurecr.io/falcon:1"},
    }
    private = inference_workspace(inference={"preset": choice})
    answer = sync(annotated(private, {key: ALL[key]}), [ready_machine(private, "ws1")])
    assert ready(answer)[1] == "AnnotationInvalid"
    assert "Remove the annotation" in ready(answer)[2]


def test_a_value_that_is_spoiled_leaves_what_is_served(lived: Lived) -> None:
    children, status = served(lived)
    answer = lived.ask(
        children, lived.pods, status=status, metadata={"annotations": {RATE: "none"}}
    )
    assert ready(answer)[1] == "AnnotationInvalid"
    assert ("Deployment", NAME) in kinds(answer)
    assert "Machine" in dict(kinds(answer))
