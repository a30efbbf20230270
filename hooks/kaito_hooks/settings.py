"""What an operator of the hooks may set: this module alone reads the environment.

A provider's own settings are in its package; it is handed what was read here. Names follow Kaito and
gpu-provisioner where they have one: existing installations keep theirs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kaito_hooks.environment import choice, optional, required, whole, words
from kaito_hooks.errors import InvalidSettings

DEFAULT_PRESET_REGISTRY = "mcr.microsoft.com/aks/kaito"
DEFAULT_COMPUTE_CAPABILITIES = "5.0 6.0 7.0 7.5 8.0 8.6 9.0"
DEFAULT_VLLM_COMPUTE_CAPABILITIES = "7.5 8.0 8.6 9.0 10.0 12.0"
RUNTIMES = ("transformers", "vllm")


def environ() -> Mapping[str, str]:
    """The environment of the process."""
    return os.environ


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """Settings of the Workspace hook."""

    preset_registry: str
    """Registry and path before the names of the model images."""
    transfer_image: str
    """Image that checks, pulls and pushes."""
    tuning_image: str
    inference_image: str
    compute_capabilities: tuple[str, ...]
    """CUDA compute capabilities for which the runtime images hold code."""
    vllm_image: str = ""
    """Image of the model server with vLLM; empty: no Workspace is served by it."""
    vllm_compute_capabilities: tuple[str, ...] = tuple(DEFAULT_VLLM_COMPUTE_CAPABILITIES.split())
    runtime: str = RUNTIMES[0]
    """What serves a Workspace that does not say it."""
    presets_file: Path | None = None
    """Replaces the presets that travel with the package."""
    idle_node_minutes: int = 30
    """How long nodes may serve nobody before they are given back; 0: for ever."""
    hook_token: str = field(default="", repr=False)
    """What Metacontroller must send as bearer token; empty lets everyone call."""

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> WorkspaceSettings:
        """Raise `InvalidSettings` that names the variable."""
        presets_file = optional(env, "KAITO_PRESETS_FILE")
        if presets_file and not Path(presets_file).is_file():
            raise InvalidSettings(f"KAITO_PRESETS_FILE must name a file, found '{presets_file}'")
        vllm_image = optional(env, "KAITO_VLLM_IMAGE")
        runtime = choice(env, "KAITO_DEFAULT_RUNTIME", RUNTIMES)
        if runtime == "vllm" and not vllm_image:
            raise InvalidSettings(
                "KAITO_DEFAULT_RUNTIME is 'vllm', so KAITO_VLLM_IMAGE must be set"
            )
        return cls(
            preset_registry=optional(env, "PRESET_REGISTRY_NAME", DEFAULT_PRESET_REGISTRY).rstrip(
                "/"
            ),
            transfer_image=required(env, "KAITO_TRANSFER_IMAGE"),
            tuning_image=required(env, "KAITO_TUNING_IMAGE"),
            inference_image=required(env, "KAITO_INFERENCE_IMAGE"),
            compute_capabilities=_compute_capabilities(
                env, "KAITO_RUNTIME_COMPUTE_CAPABILITIES", DEFAULT_COMPUTE_CAPABILITIES
            ),
            vllm_image=vllm_image,
            vllm_compute_capabilities=_compute_capabilities(
                env, "KAITO_VLLM_COMPUTE_CAPABILITIES", DEFAULT_VLLM_COMPUTE_CAPABILITIES
            ),
            runtime=runtime,
            presets_file=Path(presets_file) if presets_file else None,
            idle_node_minutes=whole(env, "KAITO_IDLE_NODE_MINUTES", 30, range(0, 7 * 24 * 60 + 1)),
            hook_token=_token(env),
        )


@dataclass(frozen=True, slots=True)
class MachineHookSettings:
    """Settings of the Machine hook, whoever makes the nodes."""

    provider: str
    """Who makes the nodes."""
    hook_token: str = field(default="", repr=False)
    """What Metacontroller must send as bearer token; empty lets everyone call."""

    @classmethod
    def from_environ(cls, env: Mapping[str, str], providers: Sequence[str]) -> MachineHookSettings:
        """The first of the providers is the default. Raise `InvalidSettings` that names the variable."""
        return cls(choice(env, "KAITO_NODE_PROVIDER", tuple(providers)), _token(env))


def _compute_capabilities(env: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    found = words(env, name) or default.split()
    for item in found:
        if not re.fullmatch(r"\d{1,2}\.\d", item):
            raise InvalidSettings(f"{name} must hold numbers such as '8.0', found '{item}'")
    return tuple(found)


def _token(env: Mapping[str, str]) -> str:
    path = optional(env, "KAITO_HOOK_TOKEN_FILE")
    if not path:
        return ""
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidSettings(f"KAITO_HOOK_TOKEN_FILE can't be read at '{path}'") from None
    if not token or not token.isascii():
        raise InvalidSettings("KAITO_HOOK_TOKEN_FILE must hold a token of ASCII characters")
    return token
