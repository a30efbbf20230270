"""Probes of a container: HTTP requests to the port of this computer that stands for its port."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import get
from kaito_laptop.kubelet.command_line import HOST


@dataclass(slots=True)
class _Probe:
    """Counts the results of one probe until they mean something."""

    spec: Manifest
    holds: bool | None = None
    """None until there is a verdict."""
    streak: int = 0
    last: bool | None = None

    def take(self, success: bool) -> bool:
        """Count one result; True if the verdict is news."""
        self.streak = self.streak + 1 if success == self.last else 1
        self.last = success
        needed = self.spec["successThreshold" if success else "failureThreshold"]
        if self.streak < needed or self.holds == success:
            return False
        self.holds = success
        return True


class Prober:
    """Probes one running container from a thread of its own until it is stopped."""

    def __init__(
        self,
        container: Manifest,
        ports: Mapping[str, int],
        ready: Callable[[bool], None],
        unhealthy: Callable[[], None],
    ) -> None:
        self._container = container
        self._ports = ports
        self._ready = ready
        self._unhealthy = unhealthy
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin; a startup probe holds the others back."""
        if any(f"{each}Probe" in self._container for each in ("startup", "readiness", "liveness")):
            self._spawn(self._startup)

    def stop(self) -> None:
        """End; no verdict is reported afterwards."""
        self._stopped.set()

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True, name=f"probe {self._container['name']}")
        self._threads.append(thread)
        thread.start()

    def _startup(self) -> None:
        probe = self._container.get("startupProbe")
        if probe is not None and not self._until_verdict(_Probe(probe)):
            if not self._stopped.is_set():
                self._unhealthy()
            return
        if "readinessProbe" in self._container:
            self._spawn(self._readiness)
        if "livenessProbe" in self._container:
            self._spawn(self._liveness)

    def _until_verdict(self, probe: _Probe) -> bool:
        self._each(probe, lambda: False)
        return probe.holds is True

    def _readiness(self) -> None:
        probe = _Probe(self._container["readinessProbe"], holds=False)

        def news() -> bool:
            self._ready(probe.holds is True)
            return True

        self._each(probe, news)

    def _liveness(self) -> None:
        probe = _Probe(self._container["livenessProbe"], holds=True)

        def news() -> bool:
            if not probe.holds:
                self._unhealthy()
            return bool(probe.holds)

        self._each(probe, news)

    def _each(self, probe: _Probe, news: Callable[[], bool]) -> None:
        """Probe again and again; `news` says whether to go on after a verdict."""
        wait = float(probe.spec.get("initialDelaySeconds", 0))
        while not self._stopped.wait(wait):
            success = self._request(probe.spec)
            if self._stopped.is_set() or (probe.take(success) and not news()):
                return
            wait = float(probe.spec["periodSeconds"])

    def _request(self, probe: Manifest) -> bool:
        """Whether the container answers with 200 to 399."""
        wanted = probe["httpGet"]
        port = self._port(wanted["port"])
        connection = http.client.HTTPConnection(HOST, port, timeout=probe["timeoutSeconds"])
        headers = {each["name"]: each["value"] for each in wanted.get("httpHeaders", [])}
        try:
            connection.request("GET", wanted["path"], headers=headers)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _port(self, wanted: int | str) -> int:
        for port in get(self._container, "ports", default=[]):
            if port.get("name") == wanted:
                wanted = port["containerPort"]
        return int(self._ports.get(str(wanted), wanted))
