"""What can't be is told with the remedy, before any node is asked for, and what exists is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    config_map,
    inference_workspace,
    merged,
    ready_machine,
    tuning_workspace,
)

TUNING: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "placeholders of the quick start",
        {"tuning": {"output": {"image": "ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1"}}},
        "OutputImageInvalid",
        "`tuning.output.image` must begin with a host name, which 'ACR_REPO_HERE.azurecr.io' is not",
    ),
    (
        "an output image without registry",
        {"tuning": {"output": {"image": "team/adapter:1"}}},
        "OutputImageInvalid",
        "`tuning.output.image` must begin with a registry",
    ),
    (
        "an unknown preset",
        {"tuning": {"preset": {"name": "phi-3-mini"}}},
        "PresetUnknown",
        "`preset.name` must be one of: falcon-40b, falcon-7b,",
    ),
    (
        "a preset that can't be tuned",
        {"tuning": {"preset": {"name": "falcon-7b-instruct"}}},
        "PresetNotTunable",
        "These can: falcon-40b, falcon-7b,",
    ),
    (
        "a GPU too old for the images",
        {"resource": {"instanceType": "Standard_NC6s_v2"}},
        "ComputeCapabilityTooLow",
        "Standard_NC6s_v2 has P100 GPUs of compute capability 6.0",
    ),
    (
        "a size without GPU",
        {"resource": {"instanceType": "Standard_D4s_v3"}},
        "InstanceTypeUnknown",
        "`resource.instanceType` is 'Standard_D4s_v3', which is not a GPU size of Azure. Create the Workspace with "
        "`resource.instanceType` 'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB)",
    ),
    (
        "a size with AMD GPUs",
        {"resource": {"instanceType": "Standard_ND96isr_MI300X_v5"}},
        "InstanceTypeNotSupported",
        "Standard_ND96isr_MI300X_v5 has AMD GPUs, and models run on NVIDIA GPUs only. Create the Workspace with "
        "`resource.instanceType` 'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB)",
    ),
    (
        "a size with FPGAs, whatever is bypassed",
        {
            "resource": {"instanceType": "Standard_NP10s"},
            "metadata": {"annotations": {"kaito.sh/bypass-resource-checks": "true"}},
        },
        "InstanceTypeNotSupported",
        "Standard_NP10s has FPGAs or media accelerators, and models run on NVIDIA GPUs only",
    ),
    (
        "a GPU too new for the images",
        {"resource": {"instanceType": "Standard_NC144lds_xl_RTXPRO6000BSE_v6"}},
        "ComputeCapabilityTooHigh",
        "has RTX PRO 6000 GPUs of compute capability 12.0; the runtime images are built for 9.0 at most. Create the "
        "Workspace with `resource.instanceType` 'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB)",
    ),
    (
        "tuning on two nodes",
        {"resource": {"count": 2}},
        "CountNotSupported",
        "`resource.count` is 2",
    ),
    (
        "a URL that is none",
        {"tuning": {"input": {"urls": ["data.parquet"]}}},
        "InputInvalid",
        "must begin with http",
    ),
    (
        "suspend",
        {"suspend": True},
        "NotSupportedYet",
        "`suspend` is not supported yet. Nodes that the Workspace has are kept, and cost as before. Set it to false to "
        "go on, or delete the Workspace to give them back; an adapter that was pushed stays in its registry: "
        "kubectl delete workspace workspace-tuning-phi-3 -n ml-team",
    ),
    (
        "an image of one's own to tune",
        {
            "tuning": {
                "preset": {"accessMode": "private", "presetOptions": {"image": "r.example/phi:1"}}
            }
        },
        "NotSupportedYet",
        "`tuning.preset.presetOptions` is not supported yet",
    ),
    (
        "a size above the price limit",
        {"resource": {"maxHourlyCost": "3.05", "instanceType": "Standard_NC24ads_A100_v4"}},
        "CostTooHigh",
        "Standard_NC24ads_A100_v4 costs 3.673 USD an hour by Azure's price list, and `resource.maxHourlyCost` is 3.05: "
        "raise it to 3.673, or create the Workspace with `resource.instanceType` 'Standard_NC4as_T4_v3' (0.526 USD)",
    ),
    (
        "a price limit below all sizes that fit",
        {"resource": {"maxHourlyCost": "0.10"}},
        "CostTooHigh",
        "`resource.maxHourlyCost` is 0.10: raise it to 0.526",
    ),
    (
        "a price limit for a size of unknown price",
        {"resource": {"maxHourlyCost": "3.50", "instanceType": "Standard_NC16ads_A10_v4"}},
        "CostTooHigh",
        "The price of Standard_NC16ads_A10_v4 is not known",
    ),
    (
        "a price limit for a size that East US does not have",
        {"resource": {"maxHourlyCost": "3.50", "instanceType": "Standard_ND96isr_H200_v5"}},
        "CostTooHigh",
        "Standard_ND96isr_H200_v5 costs 84.8 USD an hour in eastus2 by Azure's price list, and",
    ),
    (
        "data on a volume",
        {"tuning": {"input": {"urls": None, "volumeSource": {"emptyDir": {}}}}},
        "NotSupportedYet",
        "Use `tuning.input.urls`",
    ),
    (
        "a selector that a new node can't satisfy",
        {
            "resource": {
                "labelSelector": {
                    "matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["1"]}]
                }
            }
        },
        "LabelSelectorInvalid",
        "use `matchLabels`",
    ),
    (
        "both sections",
        {"inference": {"preset": {"name": "falcon-7b"}}},
        "WorkspaceInvalid",
        "Exactly one of",
    ),
]
INFERENCE: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "a licence that forbids a public image",
        {"inference": {"preset": {"name": "llama-2-7b"}}},
        "PresetPrivate",
        "Set `preset.accessMode` to 'private'",
    ),
    (
        "a distributed preset",
        {
            "inference": {
                "preset": {
                    "name": "llama-2-13b",
                    "accessMode": "private",
                    "presetOptions": {"image": "r.io/l:1"},
                }
            }
        },
        "NotSupportedYet",
        "spans several processes",
    ),
    (
        "a template",
        {"inference": {"preset": None, "template": {"spec": {}}}},
        "NotSupportedYet",
        "`inference.template`",
    ),
    (
        "an adapter by URLs",
        {"inference": {"adapters": [{"source": {"name": "a", "urls": ["https://a.example/a"]}}]}},
        "NotSupportedYet",
        "`inference.adapters[0].source.urls` is not supported yet. Use `source.image`",
    ),
    (
        "adapters of an image of one's own",
        {
            "inference": {
                "preset": {"accessMode": "private", "presetOptions": {"image": "r.io/f:1"}},
                "adapters": [{"source": {"name": "a", "image": "r.io/a:1"}}],
            }
        },
        "NotSupportedYet",
        "the program of your own image would not get them",
    ),
    (
        "a size with AMD GPUs",
        {"resource": {"instanceType": "Standard_NV4ads_V710_v5"}},
        "InstanceTypeNotSupported",
        "Standard_NV4ads_V710_v5 has AMD GPUs, and models run on NVIDIA GPUs only",
    ),
    ("a config", {"inference": {"config": "params"}}, "NotSupportedYet", "`inference.config`"),
]


@pytest.mark.parametrize(
    ("what", "change", "reason", "words"), TUNING, ids=[row[0] for row in TUNING]
)
def test_a_tuning_workspace_is_refused_with_the_remedy(
    sync: Any, what: str, change: dict[str, Any], reason: str, words: str
) -> None:
    answer = sync(tuning_workspace(**change))
    status, said, message = ready(answer)
    assert (status, said) == ("False", reason), message
    assert words in message
    assert of(answer, "Stalled")[1] == reason
    assert kinds(answer) == []


def test_a_config_map_that_is_not_there_yet_is_waited_for(sync: Any) -> None:
    answer = sync(tuning_workspace(tuning={"config": "params"}))
    assert ready(answer)[1] == "ConfigMapMissing"
    assert "kubectl create configmap params -n ml-team" in ready(answer)[2]
    assert of(answer, "Reconciling")[1] == "ConfigMapMissing"
    assert kinds(answer) == []


@pytest.mark.parametrize(
    ("what", "change", "reason", "words"), INFERENCE, ids=[row[0] for row in INFERENCE]
)
def test_an_inference_workspace_is_refused_with_the_remedy(
    sync: Any, what: str, change: dict[str, Any], reason: str, words: str
) -> None:
    answer = sync(inference_workspace(**change))
    assert ready(answer)[1] == reason
    assert words in ready(answer)[2]
    assert of(answer, "Stalled")[0] == "True"


CONFIGS: list[tuple[str, str, str]] = [
    ("training_config: [", "is not valid YAML (line ", "qlora"),
    ("ModelConfig: {}", "must have the key `training_config`", "qlora"),
    (
        "training_config: {LoRAConfig: {}}",
        "unknown key `training_config.LoRAConfig`; did you mean `LoraConfig`?",
        "qlora",
    ),
    (
        "training_config: {LoraConfig: 3}",
        "`LoraConfig` must be a map of keys and values",
        "qlora",
    ),
    (
        "training_config: {QuantizationConfig: {load_in_4bit: 'yes'}}",
        "must be true or false, found 'yes'",
        "qlora",
    ),
    (
        "training_config: {QuantizationConfig: {load_in_4bit: true, load_in_8bit: true}}",
        "may not both be true",
        "qlora",
    ),
    ("training_config: {LoraConfig: {r: 8}}", "must be true for the method 'qlora'", "qlora"),
    (
        "training_config: {QuantizationConfig: {load_in_4bit: true}}",
        "must not be true for the method 'lora'",
        "lora",
    ),
]


@pytest.mark.parametrize(("text", "words", "method"), CONFIGS, ids=[row[1] for row in CONFIGS])
def test_a_training_config_is_refused_with_the_remedy(
    sync: Any, text: str, words: str, method: str
) -> None:
    workspace = tuning_workspace(
        tuning={"config": "params", "method": method},
        resource={"instanceType": "Standard_NC24ads_A100_v4"},
    )
    answer = sync(workspace, related=[config_map("params", text)])
    assert ready(answer)[1] == "ConfigInvalid"
    assert words in ready(answer)[2]
    assert "ConfigMap 'params'" in ready(answer)[2]


def test_a_method_is_read_whatever_its_case(sync: Any) -> None:
    assert ready(sync(tuning_workspace(tuning={"method": "QLoRA"})))[1] == "CheckPending"


def test_children_of_a_workspace_that_became_wrong_stay_as_they_were_applied(sync: Any) -> None:
    workspace = inference_workspace()
    machine = ready_machine(workspace, "ws1")
    asked = child(sync(workspace, [machine]), "Deployment")
    answer = sync(merged(workspace, {"suspend": True}), [machine, as_observed(asked)])
    assert ready(answer)[1] == "NotSupportedYet"
    assert child(answer, "Deployment") == asked
    assert kinds(answer) == [("Deployment", "workspace-falcon-7b"), ("Machine", "ws1")]
