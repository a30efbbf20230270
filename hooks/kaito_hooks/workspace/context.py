"""Everything beside the observation that an answer depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kaito_hooks.api.nodes import NodeConventions
from kaito_hooks.presets import Presets
from kaito_hooks.workspace.api import Runtime


@dataclass(frozen=True, slots=True)
class Images:
    """The images of the runtime, and where preset images come from."""

    registry: str
    """Prefix of preset images that name no registry, such as mcr.microsoft.com/aks/kaito."""
    transfer: str
    tuning: str
    inference: str
    compute_capabilities: tuple[str, ...]
    """What the torch build of the images holds code for."""
    vllm: str = ""
    """The image of the model server with vLLM; empty where there is none."""
    vllm_compute_capabilities: tuple[str, ...] = ()
    """What the builds of torch and vLLM in that image hold code for."""


@dataclass(frozen=True, slots=True)
class Context:
    """Presets, images and the time of the call."""

    presets: Presets
    images: Images
    now: datetime
    idle_limit: timedelta | None = None
    """How long nodes may serve nobody before they are given back; None: for ever."""
    conventions: Sequence[NodeConventions] = ()
    """What services that make nodes do to them by themselves."""
    runtime: Runtime = Runtime.TRANSFORMERS
    """What serves a Workspace that does not say it."""
