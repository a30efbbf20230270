"""The rows of the Workspace's CEL rules, and of what must be accepted."""

from __future__ import annotations

from typing import Any

from tests.harness.builders import merged
from tests.harness.workspace_rules import INFERENCE, TUNING, Row

INPUT_IMAGE = {"tuning": {"input": {"urls": None, "image": "registry.example/data:1.0"}}}
VOLUME = {"persistentVolumeClaim": {"claimName": "data"}}
PRIVATE = {"accessMode": "private", "presetOptions": {"image": "registry.example/model:1.0"}}


def _tuning(name: str, says: str, **changes: Any) -> Row:
    return Row(name, merged(TUNING, changes), says=says)


def _inference(name: str, says: str, **changes: Any) -> Row:
    return Row(name, merged(INFERENCE, changes), says=says)


def _changed(name: str, says: str, before: dict[str, Any], **changes: Any) -> Row:
    return Row(name, before, merged(before, changes), says)


def _adapter(strength: str) -> dict[str, Any]:
    source = {"name": "one", "image": "registry.example/one:1.0"}
    return {"adapters": [{"source": source, "strength": strength}]}


REFUSED = [
    _tuning("a name of 53 characters", "must be a DNS label", metadata={"name": "a" * 53}),
    _tuning("a name that starts with a digit", "must be a DNS label", metadata={"name": "1st"}),
    _tuning("a name with a dot", "must be a DNS label", metadata={"name": "a.b"}),
    _tuning("neither inference nor tuning", "exactly one of `inference`", tuning=None),
    _tuning(
        "both inference and tuning",
        "exactly one of `inference` and `tuning`",
        inference=INFERENCE["inference"],
    ),
    _changed(
        "tuning becomes inference",
        "may not be exchanged",
        TUNING,
        tuning=None,
        inference=INFERENCE["inference"],
    ),
    _changed("another count", "`resource.count` is immutable", TUNING, resource={"count": 2}),
    _changed(
        "another size",
        "`resource.instanceType` is immutable",
        TUNING,
        resource={"instanceType": "Standard_NC24s_v3"},
    ),
    _changed(
        "another selector",
        "`resource.labelSelector` is immutable",
        TUNING,
        resource={"labelSelector": {"matchLabels": {"app": "other"}}},
    ),
    _tuning("a cost that is no number", "USD per hour", resource={"maxHourlyCost": "cheap"}),
    _tuning("a cost with five decimals", "USD per hour", resource={"maxHourlyCost": "1.00001"}),
    _inference(
        "neither preset nor template",
        "exactly one of `inference.preset`",
        inference={"preset": None},
    ),
    _inference(
        "both preset and template", "exactly one of `inference.preset`", inference={"template": {}}
    ),
    _changed(
        "the preset becomes a template",
        "may not be exchanged",
        INFERENCE,
        inference={"preset": None, "template": {}},
    ),
    _changed(
        "another preset",
        "the preset is immutable",
        INFERENCE,
        inference={"preset": {"name": "phi-2"}},
    ),
    _changed(
        "another preset to tune",
        "the preset is immutable",
        TUNING,
        tuning={"preset": {"name": "phi-2"}},
    ),
    _inference(
        "a private preset without image",
        "`presetOptions.image` must be specified",
        inference={"preset": {"accessMode": "private"}},
    ),
    _inference(
        "a private preset with an empty image",
        "`presetOptions.image` must be specified",
        inference={"preset": {"accessMode": "private", "presetOptions": {"image": ""}}},
    ),
    _inference("a strength above 1", "from 0 to 1", inference=_adapter("1.5")),
    _inference("a strength in words", "from 0 to 1", inference=_adapter("full")),
    _tuning("another method", "must be 'lora' or 'qlora'", tuning={"method": "full"}),
    _changed(
        "the method changes", "`tuning.method` is immutable", TUNING, tuning={"method": "lora"}
    ),
    _tuning("no data", "exactly one of `urls`", tuning={"input": {"urls": None}}),
    _tuning("an empty list of URLs", "exactly one of `urls`", tuning={"input": {"urls": []}}),
    _tuning(
        "data twice",
        "exactly one of `urls`",
        tuning={"input": {"image": "registry.example/data:1.0"}},
    ),
    _tuning(
        "an image of data without a tag",
        "`tuning.input.image` must be a whole reference",
        tuning={"input": {"urls": None, "image": "registry.example/data"}},
    ),
    _tuning(
        "no output",
        "exactly one of `image` and `volumeSource`",
        tuning={"output": {"image": None, "imagePushSecret": None}},
    ),
    _tuning(
        "output twice",
        "exactly one of `image` and `volumeSource`",
        tuning={"output": {"volumeSource": VOLUME}},
    ),
    _tuning(
        "an image without the right to push it",
        "`tuning.output.imagePushSecret` must be specified",
        tuning={"output": {"imagePushSecret": None}},
    ),
    _tuning(
        "an output image without a tag",
        "`tuning.output.image` must be a whole reference with a tag",
        tuning={"output": {"image": "registry.example/adapter"}},
    ),
]

ALLOWED = [
    _tuning("tuning with URLs", ""),
    _tuning("tuning with an image of data", "", **INPUT_IMAGE),
    _tuning(
        "tuning with data by digest",
        "",
        tuning={"input": {"urls": None, "image": "registry.example/data@sha256:" + "a" * 64}},
    ),
    _tuning(
        "tuning from a volume to a volume",
        "",
        tuning={
            "input": {"urls": None, "volumeSource": VOLUME},
            "output": {"image": None, "imagePushSecret": None, "volumeSource": VOLUME},
        },
    ),
    _tuning("QLoRA in other letters", "", tuning={"method": "QLoRA"}),
    _tuning("a name of 52 characters", "", metadata={"name": "a" * 52}),
    _tuning("a cost with four decimals", "", resource={"maxHourlyCost": "3.5001"}),
    _tuning("a field that nobody knows is dropped", "", tuning={"nonsense": 1}),
    _inference("inference with a preset", ""),
    _inference("inference with a private preset", "", inference={"preset": PRIVATE}),
    _inference("inference with a template", "", inference={"preset": None, "template": {}}),
    _inference("an adapter at half strength", "", inference=_adapter("0.5")),
    _inference("an adapter at full strength", "", inference=_adapter("1.0")),
    _changed(
        "other data", "", TUNING, tuning={"input": {"urls": ["https://data.example/2.parquet"]}}
    ),
    _changed("other kind of data", "", TUNING, **INPUT_IMAGE),
    _changed("suspended", "", TUNING, suspend=True),
    _changed("no longer served", "", TUNING, tuning={"serve": False}),
    _changed("an adapter more", "", INFERENCE, inference=_adapter("0.5")),
]
