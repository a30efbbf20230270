"""What an operator of the orphan sweep may set, beside the settings of AKS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_hooks.environment import choice, optional, required
from kaito_hooks.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Settings of the orphan sweep, beside those of the Machine hook."""

    namespace: str
    """Where its ConfigMap is."""
    may_delete: bool = False
    """Whether orphans are deleted after the grace; else they are only reported."""
    push_url: str = ""
    """A Pushgateway of Prometheus; empty for none."""

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> SweepSettings:
        """Raise `InvalidSettings` that names the variable."""
        push_url = optional(env, "KAITO_METRICS_PUSH_URL").rstrip("/")
        if push_url and not push_url.startswith(("http://", "https://")):
            raise InvalidSettings(f"KAITO_METRICS_PUSH_URL must be a URL, found '{push_url}'")
        return cls(
            namespace=required(env, "POD_NAMESPACE"),
            may_delete=choice(env, "KAITO_SWEEP_DELETE", ("false", "true")) == "true",
            push_url=push_url,
        )
