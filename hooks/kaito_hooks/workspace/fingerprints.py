"""Fingerprints of a tuning: of what changes the weights, and of what opens the way to data and registries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaito_hooks.api import labels
from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.workspace.api import Tuning
from kaito_hooks.workspace.data_urls import without_credentials

MOST_VALUES = 10_000
"""Of a configuration; YAML's aliases make few lines many values."""


class NotPlain(ValueError):
    """A configuration that has no JSON: its message ends a sentence that begins with the file."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What Jobs, adapters and the Secret of one tuning are known by."""

    hash: str
    """Of what changes the weights, as the user wrote it; never of a default, which an upgrade may change."""
    earlier: tuple[str, ...] = ()
    """The same inputs by the first scheme, which an operator upgrade finds on what it did not make."""
    transfers: str = ""
    """Of what opens data and registries, and of where the adapter goes: it changes no weights."""
    first_scheme: str = ""
    """The first scheme's fingerprint of the Workspace as it is now."""
    any_transfers: bool = False
    """Whether it no longer matters how a Job reads and pushes."""

    def covers(self, other: str) -> bool:
        """Whether a fingerprint stands for the same inputs."""
        return other != "" and other in (self.hash, *self.earlier)

    def transfers_alike(self, annotations: Mapping[str, str]) -> bool:
        """Whether a Job with these annotations reads and pushes as the Workspace says now."""
        if self.any_transfers:
            return True
        if labels.TRANSFER_HASH in annotations:
            return annotations[labels.TRANSFER_HASH] == self.transfers
        return annotations.get(labels.TUNING_HASH) == self.first_scheme  # it covered both


def of_inputs(tuning: Tuning, config: Mapping[str, Any] | None) -> str:
    """What changes the weights: the model, the method, the data and the parsed configuration, None for the defaults."""
    preset = tuning.preset
    return fingerprint(
        {
            "model": {"name": preset.name, "image": preset.image if preset.private else ""},
            "method": tuning.method,
            "data": {
                "urls": [without_credentials(url) for url in tuning.input.urls],
                "image": tuning.input.image,
            },
            "config": plain(config) if config is not None else None,
        }
    )


def of_transfers(tuning: Tuning) -> str:
    """What a pod needs to read the data and to push the adapter."""
    return fingerprint(
        {
            "urls": list(tuning.input.urls),
            "imagePullSecrets": sorted(set(tuning.input.pull_secrets)),
            "image": tuning.output.image,
            "imagePushSecret": tuning.output.push_secret,
        }
    )


def of_first_scheme(tuning: Tuning, written: str, retry: str) -> str:
    """The fingerprint that Jobs of this Workspace had before 2026-12; it must not change any more."""
    return fingerprint(
        {
            "preset": tuning.preset.name,
            "method": tuning.method,
            "input": {
                "urls": list(tuning.input.urls),
                "image": tuning.input.image,
                "imagePullSecrets": sorted(tuning.input.pull_secrets),
            },
            "output": {"image": tuning.output.image, "imagePushSecret": tuning.output.push_secret},
            "config": written,
            "retry": retry,
        }
    )


def plain(config: Mapping[str, Any]) -> Any:
    """A parsed configuration as JSON: neither the order of its keys nor how its values were written counts.

    Raises:
        NotPlain: it holds itself, or too many values.
    """
    try:
        return _plain(config, [MOST_VALUES])
    except RecursionError:
        raise NotPlain("has an alias that stands for what it is part of") from None


def _plain(value: object, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise NotPlain(f"must have at most {MOST_VALUES:,} values")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, left) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, left) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return str(sorted(map(str, value)) if isinstance(value, set) else value)
