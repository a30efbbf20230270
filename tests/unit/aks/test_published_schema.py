"""What is sent to create a pool, against the published schema: names, types and values as in Azure's own models."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from azure.mgmt.containerservice import models

from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_hooks.providers.aks import pools
from kaito_hooks.providers.aks.settings import AksSettings

from tests.unit.machine.builders import machine

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNET = (
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/n"
)


def sent(is_spot: bool = False, **settings: Any) -> dict[str, Any]:
    wanted = replace(wanted_pool(Machine(machine()), NOW), is_spot=is_spot)
    return pools.put_body(wanted, AksSettings("sub", "rg", "aks", "install-1", **settings))


def misfits(kind: Any, value: Any, path: str = "") -> list[str]:
    """Where a value is not what the schema says."""
    if get_origin(kind) in (Union, UnionType):
        kinds = [one for one in get_args(kind) if one is not type(None)]
        # Azure's models take any string beside an enumeration, for values of later versions.
        enums = [one for one in kinds if isinstance(one, type) and issubclass(one, Enum)]
        return misfits((enums or kinds)[0], value, path)
    if get_origin(kind) is list:
        items = value if isinstance(value, list) else [NotImplemented]
        return [each for item in items for each in misfits(get_args(kind)[0], item, f"{path}[]")]
    if get_origin(kind) is dict:
        items = [*value.values()] if isinstance(value, dict) else [NotImplemented]
        return [each for item in items for each in misfits(get_args(kind)[1], item, f"{path}{{}}")]
    if issubclass(kind, Enum):
        return [] if value in {item.value for item in kind} else [f"{path}: {value!r} is no value"]
    if hasattr(kind, "as_dict"):
        return misfits_in(kind, value, path)
    numbers: tuple[type, ...] = (int, float) if kind is float else (kind,)
    is_right = isinstance(value, numbers) and (kind is bool or not isinstance(value, bool))
    return [] if is_right else [f"{path}: {value!r} is not {kind.__name__}"]


def misfits_in(model: Any, body: Any, path: str) -> list[str]:
    """The same of an object: unknown names, and those that only Azure may set."""
    if not isinstance(body, dict):
        return [f"{path}: {body!r} is no object"]
    fields = type(model({}))._attr_to_rest_field
    types = get_type_hints(model, localns={"_models": models})
    by_name = {field._rest_name: (types[name], field) for name, field in fields.items()}
    found = []
    for name, value in body.items():
        kind, field = by_name.get(name, (None, None))
        if field is None:
            found.append(f"{path}.{name}: unknown")
        elif field._visibility == ["read"]:
            found.append(f"{path}.{name}: read only")
        else:
            found += misfits(kind, value, f"{path}.{name}")
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"is_spot": True},
        {"subnet_id": SUBNET, "zones": ("1", "3"), "os_sku": "AzureLinux", "disk_gib": 128},
        {"gpu_driver": "None"},
        {"gpu_management": "Managed"},
    ],
)
def test_the_body_of_a_put_is_what_the_published_schema_says(settings: Any) -> None:
    assert misfits_in(models.AgentPool, sent(**settings), "") == []


@pytest.mark.parametrize(
    ("properties", "misfit"),
    [
        ({"vmSizes": "x"}, ".vmSizes: unknown"),
        ({"upgradeSettings": {"surge": "1"}}, ".upgradeSettings.surge: unknown"),
        ({"eTag": "x"}, ".eTag: read only"),
        ({"count": "1"}, ".count: '1' is not int"),
        ({"count": True}, ".count: True is not int"),
        ({"enableAutoScaling": 0}, ".enableAutoScaling: 0 is not bool"),
        ({"availabilityZones": [1]}, ".availabilityZones[]: 1 is not str"),
        ({"tags": {"a": 1}}, ".tags{}: 1 is not str"),
        ({"osSKU": "Debian"}, ".osSKU: 'Debian' is no value"),
        ({"gpuProfile": "None"}, ".gpuProfile: 'None' is no object"),
    ],
)
def test_what_the_schema_does_not_allow_would_be_noticed(properties: Any, misfit: str) -> None:
    found = misfits_in(models.AgentPool, {"properties": properties}, "")
    assert found == [f".properties{misfit}"]
