"""The adapters of `inference.adapters`: served on the base model, each by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kaito_contract import references
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.objects import get_in, mapping, sequence, text
from kaito_hooks.workspace import reasons

_NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.IGNORECASE)
_NAME_LIMIT = 253
_STRENGTH = re.compile(r"0(\.[0-9]+)?|1(\.0+)?|\.[0-9]+")
_TAKEN = ("base", "default")
"""What the model server calls the base, and the base with all adapters."""
_FIELD = "inference.adapters"
NOT_YET: Mapping[str, str] = dict.fromkeys(
    ("urls", "volumeSource"), "Use `source.image`: an image with the adapter's files below /data"
)
"""Sources that the CRD has and this version refuses, with what to do instead."""


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter in an image, below /data."""

    name: str
    image: str
    pull_secrets: tuple[str, ...]
    strength: str
    """A decimal number from 0 to 1."""


def parse(raw: object, *, is_private: bool) -> tuple[ServedAdapter, ...]:
    """In the order in which they are written; raise `InvalidObject` for what can't be served."""
    found = tuple(
        _adapter(mapping(item), f"{_FIELD}[{number}]") for number, item in enumerate(sequence(raw))
    )
    names = [each.name for each in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _invalid(f"`{_FIELD}` has the name '{twice}' more than once; each must be unique")
    if found and is_private:
        raise InvalidObject(
            reasons.NOT_SUPPORTED_YET,
            f"`{_FIELD}` with `preset.accessMode` 'private' is not supported yet: the program of your own image "
            f"would not get them. Put them into that image, and remove `{_FIELD}`",
        )
    return found


def _adapter(item: Mapping[str, object], field: str) -> ServedAdapter:
    source = mapping(item.get("source"))
    name, image = text(source.get("name")), text(source.get("image"))
    for other, remedy in NOT_YET.items():
        if source.get(other):
            raise InvalidObject(
                reasons.NOT_SUPPORTED_YET,
                f"`{field}.source.{other}` is not supported yet. {remedy}",
            )
    if len(name) > _NAME_LIMIT or not _NAME.fullmatch(name):
        raise _invalid(
            f"`{field}.source.name` must be letters, digits and '-', and begin and end with a letter or digit, "
            f"found '{name[:40]}'"
        )
    if name in _TAKEN:
        raise _invalid(
            f"`{field}.source.name` must not be '{name}', which names what the server has without it"
        )
    if not image:
        raise _invalid(f"`{field}.source.image` must be specified")
    try:
        references.parse(image)
    except references.InvalidReference as error:
        raise _invalid(f"`{field}.source.image` {error}") from None
    strength = text(item.get("strength")) or "1.0"
    if not _STRENGTH.fullmatch(strength):
        raise _invalid(
            f"`{field}.strength` must be a decimal number from 0 to 1, such as '0.5', found '{strength[:40]}'"
        )
    secrets = sequence(get_in(source, "imagePullSecrets"))
    pull_secrets = tuple(each for each in secrets if isinstance(each, str) and each)
    return ServedAdapter(name, image, pull_secrets, strength)


def _invalid(message: str) -> InvalidObject:
    return InvalidObject(reasons.ADAPTERS_INVALID, message)
