"""Row 58: the hook's process is killed around each request that changes something; nothing is leaked."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.unit.aks import hook_process
from tests.unit.aks.machine_simulation import NodeList, simulated_machine
from tests.unit.machine.builders import body

MOMENTS = [
    ("before the PUT is sent", "GET", False),
    ("after the PUT is sent, before it is carried out", "PUT", False),
    ("after the PUT is carried out, before its answer", "PUT", True),
    ("after the DELETE is sent, before it is carried out", "DELETE", False),
    ("after the DELETE is carried out, before its answer", "DELETE", True),
]


class Killed:
    """Starts the process, kills it when the stand-in sees a request, and starts it again."""

    def __init__(self, simulation: Any, folder: Path) -> None:
        self.simulation, self.folder = simulation, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.kill_at: tuple[str, bool] | None = None
        self.starts = 0
        self.kills: list[str] = []
        self._handle = simulation.arm.router.handle
        simulation.arm.router.handle = self.handle

    def handle(self, request: Any) -> Any:
        verb, moment = request.method, self.kill_at
        if verb == "GET" and request.path.endswith("/agentPools"):
            verb = "LIST"
        if moment is None or moment[0] != verb:
            return self._handle(request)
        self.kill_at = None
        if moment[1]:
            self._handle(request)
        self.kills.append(f"{verb} {moment[1]}")
        self.stop()
        return self._handle(type(request)("GET", "/", {}, {}))  # Nobody reads the answer.

    def post(self, route: str, request: Any) -> dict[str, Any] | None:
        """Call the hook as Metacontroller does; None when the process dies over it."""
        (self.folder / "clock").write_text(str(self.simulation.clock.seconds()))
        connection = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=20)
        try:
            connection.request("POST", route, json.dumps(request))
            response = connection.getresponse()
            text = response.read()
        except (ConnectionError, http.client.HTTPException):
            return None
        assert response.status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    def stop(self) -> None:
        process, self.process = self.process, None  # First: the next call starts another one.
        if process is not None:
            process.kill()
            process.wait()

    def _port(self) -> int:
        port = self.folder / "port"
        if self.process is None:
            port.unlink(missing_ok=True)
            self.starts += 1
            script = str(Path(hook_process.__file__))
            arguments = [self.simulation.arm.url, str(self.folder / "clock"), str(port)]
            self.process = subprocess.Popen(
                [sys.executable, script, *arguments], stderr=subprocess.DEVNULL
            )
        while not port.exists():
            assert self.process.poll() is None, "the hook's process has ended"
            time.sleep(0.01)
        return int(port.read_text())


def live(simulation: Any, hook: Killed, until: Any) -> None:
    for _ in range(200):
        parent = simulation.parent
        finalizing = "deletionTimestamp" in parent["metadata"]
        route = "/machine/finalize" if finalizing else "/machine/sync"
        answer = hook.post(route, body(parent, simulation.nodes.by_name.values(), finalizing))
        if answer is not None:
            simulation.parent = {**parent, "status": answer["status"]}
            simulation.is_gone = answer.get("finalized", False)
        if until(answer):
            return
        simulation.pass_time((answer or {}).get("resyncAfterSeconds", 300) or 1)
    raise AssertionError(simulation.status)


@pytest.mark.timeout(60)
def test_58_a_process_that_is_killed_around_any_request_leaks_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        simulation = stack.enter_context(simulated_machine())
        hook = Killed(simulation, tmp_path)
        stack.callback(hook.stop)
        for _, verb, is_applied in MOMENTS[:3]:
            hook.kill_at = (verb, is_applied)
            live(simulation, hook, lambda answer: answer is None)
        live(simulation, hook, lambda answer: bool(simulation.nodes.by_name) and answer is not None)
        assert isinstance(simulation.nodes, NodeList)
        assert [item.status for item in simulation.arm.asked if item.verb == "PUT"].count(201) == 1
        simulation.delete()
        for _, verb, is_applied in MOMENTS[3:]:
            hook.kill_at = (verb, is_applied)
            live(simulation, hook, lambda answer: answer is None)
        live(simulation, hook, lambda answer: simulation.is_gone)
        assert simulation.pools == []
        assert simulation.nodes.by_name == {}
        assert hook.starts == len(MOMENTS) + 1
        assert hook.kills == [f"{verb} {is_applied}" for _, verb, is_applied in MOMENTS]
