"""The Machine hook as a WSGI app: HTTP around `provisioner.run`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from flask import Flask

from kaito_hooks.kube.objects import Manifest, name, namespace
from kaito_hooks.machine.customize import customize
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Provider
from kaito_hooks.providers.table import PROVIDERS, provider_of
from kaito_hooks.provisioner.run import MachineHook
from kaito_hooks.settings import MachineHookSettings, environ
from kaito_hooks.web import create_app
from kaito_hooks.web.logs import Log, parent_of
from kaito_hooks.web.metrics import MachineMetrics


def create_machine_app(
    provider: Provider | None = None,
    now: Callable[[], datetime] | None = None,
    *,
    token: str = "",
    log_stream: TextIO | None = None,
) -> Flask:
    """The WSGI app of the Machine hook; without a provider, the one that the environment names."""
    now = now or _utc_now
    if provider is None:
        settings = MachineHookSettings.from_environ(environ(), tuple(PROVIDERS))
        provider = provider_of(settings.provider, environ(), now)
        token = settings.hook_token
    counts = MachineMetrics()
    hook = MachineHook(provider, now, _Observer(counts, Log(log_stream)))
    return create_app(
        {
            "/machine/sync": hook.sync,
            "/machine/finalize": hook.finalize,
            "/machine/customize": customize,
        },
        ready=provider.unavailable_reason,
        token=token,
        counts=counts,
        log_stream=log_stream,
    )


class _Observer:
    """Implements `kaito_hooks.provisioner.run.Observer` with metrics and the log."""

    def __init__(self, counts: MachineMetrics, log: Log) -> None:
        self._counts, self._log = counts, log

    def acted(self, action: str, outcome: str) -> None:
        """Count it."""
        self._counts.count_provider_call(action, outcome)

    def failed(self, action: str, machine: Manifest, error: ProviderError) -> None:
        """Log it."""
        parent = parent_of({"parent": machine})
        self._log.refused(action, error.code, error.detail, error.ids, parent)

    def finalizing(self, machine: Manifest, seconds: float | None) -> None:
        """Show it, until it is gone."""
        self._counts.set_finalizing(namespace(machine), name(machine), seconds)


def _utc_now() -> datetime:
    return datetime.now(UTC)
