"""The shape of presets.yaml, as JSON Schema: unknown keys and amounts without a unit are refused."""

from __future__ import annotations

_QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti)$"}
_MEMORY = {
    "type": "object",
    "required": ["total"],
    "additionalProperties": False,
    "properties": {"total": _QUANTITY, "perGPU": _QUANTITY},
}
_CAPABILITY = {"type": "string", "pattern": r"^[0-9]+\.[0-9]$"}
_POSITIVE = {"type": "integer", "minimum": 1}
_NETWORK = {
    "type": "object",
    "required": ["layers", "heads", "keyValueHeads", "headSize", "context"],
    "additionalProperties": False,
    "properties": {
        "layers": _POSITIVE,
        "heads": _POSITIVE,
        "keyValueHeads": _POSITIVE,
        "headSize": _POSITIVE,
        "context": _POSITIVE,
        "longPositionsFrom": _POSITIVE,
    },
}
_PRESET = {
    "type": "object",
    "required": [
        "family",
        "parameters",
        "disk",
        "gpus",
        "memory",
        "computeCapability",
        "readySeconds",
    ],
    "additionalProperties": False,
    "properties": {
        "family": {"type": "string"},
        "weights": {
            "type": "object",
            "oneOf": [{"required": ["image", "path"]}, {"required": ["repository", "revision"]}],
            "additionalProperties": False,
            "properties": {
                "image": {
                    "type": "string",
                    "pattern": r"^[^:]+(:[0-9]+/[^:]+)?(:[^:/]+|@sha256:[0-9a-f]{64})$",
                },
                "path": {"type": "string", "pattern": "^/"},
                "repository": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
                "revision": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
            },
        },
        "parameters": {"type": "integer", "minimum": 1},
        "disk": _QUANTITY,
        "gpus": {"type": "integer", "minimum": 1},
        "memory": {
            "type": "object",
            "required": ["inference"],
            "additionalProperties": False,
            "properties": {"inference": _MEMORY, "lora": _MEMORY},
        },
        "qloraWorkspace": _QUANTITY,
        "computeCapability": _CAPABILITY,
        "arguments": {"type": "object", "additionalProperties": {"type": "string"}},
        "readySeconds": {"type": "integer", "minimum": 1},
        "access": {"enum": ["public", "private"]},
        "distributed": {"type": "boolean"},
        "worldSize": {"type": "integer", "minimum": 1},
        "targetModules": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "network": _NETWORK,
        "vllmAdapters": {"type": "boolean"},
    },
}
_SIZE = {
    "type": "object",
    "required": [
        "gpu",
        "gpus",
        "memory",
        "computeCapability",
        "vcpus",
        "hostMemory",
        "hourlyCost",
    ],
    "additionalProperties": False,
    "properties": {
        "gpu": {"type": "string"},
        "gpus": {"type": "integer", "minimum": 1},
        "memory": _QUANTITY,
        "reported": _QUANTITY,
        "computeCapability": _CAPABILITY,
        "vcpus": {"type": "integer", "minimum": 1, "maximum": 999},
        "hostMemory": _QUANTITY,
        "hourlyCost": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
        "priceRegion": {"type": "string", "pattern": "^[a-z0-9]+$"},
        "notSuggested": {"type": "string", "minLength": 1},
        "retired": {
            "type": "object",
            "required": ["date", "successors"],
            "additionalProperties": False,
            "properties": {
                "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
                "successors": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["terms", "presets", "instanceTypes"],
    "additionalProperties": False,
    "properties": {
        "terms": {
            "type": "object",
            "required": ["qloraBytesPerParameter", "qloraWorkspace"],
            "additionalProperties": False,
            "properties": {
                "qloraBytesPerParameter": {"type": "number", "exclusiveMinimum": 0},
                "qloraWorkspace": _QUANTITY,
            },
        },
        "presets": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"},
            "additionalProperties": _PRESET,
        },
        "instanceTypes": {"type": "object", "additionalProperties": _SIZE},
        "instanceTypeAliases": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
