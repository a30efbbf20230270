"""Pods run as processes of this computer: real files, real signals, real ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaito_laptop.controllers.control_plane import control_plane
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import Key
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import get, is_true
from kaito_laptop.kubelet.agent import Kubelet
from kaito_laptop.kubelet.processes import ProcessRuntime
from kaito_laptop.kubelet.services import ServiceProxy

from tests.harness.cluster_client import condition_of

SERVER = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
host = sys.argv[sys.argv.index("--host") + 1]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.path.encode())
    def log_message(self, *args): pass
http.server.HTTPServer((host, port), Handler).serve_forever()
"""


class Machine:
    """A cluster on the clock of this computer whose pods are processes."""

    def __init__(self, state: Path) -> None:
        self.event_loop = EventLoop(RealClock())
        self.plane = control_plane(self.event_loop)
        self.cluster = self.plane.cluster
        self.state = state
        runtime = ProcessRuntime(
            self.cluster, self.event_loop, state, lambda image: image.startswith("ours/")
        )
        self.kubelet = Kubelet(self.cluster, self.event_loop, runtime)

    def until(self, reached: Any, seconds: int = 15) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, "it did not happen"
            if not self.event_loop.step():
                self.event_loop.wait(0.5)

    def key(self, kind: str, name: str) -> Any:
        return Key(self.cluster.resource("v1", kind), name, "default")

    def pod(self, name: str = "p") -> Any:
        return self.cluster.get(self.key("Pod", name))

    def phase(self, name: str = "p") -> Any:
        return get(self.pod(name), "status", "phase")

    def is_gone(self, name: str = "p") -> Any:
        pods = self.cluster.list(self.cluster.resource("v1", "Pod"))
        return name not in [pod["metadata"]["name"] for pod in pods]

    def run(self, *containers: Any, name: str = "p", init: Any = (), **spec: Any) -> None:
        self.cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": {"app": name}},
                "spec": {
                    "restartPolicy": "Never",
                    "initContainers": list(init),
                    "containers": list(containers),
                    **spec,
                },
            }
        )

    def ended(
        self, container: str = "main", name: str = "p", group: str = "containerStatuses"
    ) -> Any:
        for status in self.pod(name)["status"][group]:
            if status["name"] == container:
                return status["state"].get("terminated") or status["lastState"].get("terminated")
        return None

    def log(self, container: str = "main", name: str = "p") -> Any:
        return (self.state / "logs/default" / name / f"{container}.log").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Any]:
    machine = Machine(tmp_path)
    yield machine
    machine.kubelet.close()


def python(code: str, name: str = "main", **fields: Any) -> Any:
    return {"name": name, "image": "ours/x:1", "command": ["python", "-c", code], **fields}


def test_a_pod_runs_its_containers_in_order_over_shared_volumes(machine: Any) -> None:
    mount = [{"name": "data", "mountPath": "/mnt/data"}]
    root = "import os; from pathlib import Path; root = Path(os.environ['KAITO_ROOT']);"
    message = "(root / 'dev/termination-log').write_text('{\"rows\": 3}')"
    machine.run(
        python(
            f"{root} print((root / 'mnt/data/x').read_text()); {message}",
            volumeMounts=mount,
        ),
        init=[
            python(f"{root} (root / 'mnt/data/x').write_text('one')", "first", volumeMounts=mount),
            python(
                f"{root} p = root / 'mnt/data/x'; p.write_text(p.read_text() + ' two')",
                "second",
                volumeMounts=mount,
            ),
        ],
        volumes=[{"name": "data", "emptyDir": {}}],
    )

    machine.until(lambda: machine.phase() == "Succeeded")

    assert machine.log() == "one two\n"
    assert machine.ended()["message"] == '{"rows": 3}'
    assert machine.ended("second", group="initContainerStatuses")["reason"] == "Completed"
    assert condition_of(machine.pod(), "Ready")["reason"] == "PodCompleted"


def test_a_failed_init_container_fails_the_pod_with_the_end_of_its_log(machine: Any) -> None:
    failing = python(
        "print('no data'); raise SystemExit(1)",
        "data",
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    machine.run(python("print('never')"), init=[failing])

    machine.until(lambda: machine.phase() == "Failed")

    ended = machine.ended("data", group="initContainerStatuses")
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (1, "Error", "no data")
    assert machine.ended() is None


def test_secrets_config_maps_and_fields_arrive_as_files_and_variables(machine: Any) -> None:
    cluster = machine.cluster
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s"},
            "stringData": {"token": "t0p", "other": "x"},
        }
    )
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "c"},
            "data": {"a.yaml": "a: 1"},
        }
    )
    code = (
        "import os, json; from pathlib import Path; r = Path(os.environ['KAITO_ROOT'])\n"
        "print(json.dumps([(r/'s/only').read_text(), sorted(p.name for p in (r/'s').iterdir()), "
        "(r/'c/a.yaml').read_text(), os.environ['TOKEN'], os.environ['NAME'], os.environ['BOTH'], "
        "os.environ['HOME'] == str(r/'scratch/home')]))"
    )
    machine.run(
        python(
            code,
            args=[],
            env=[
                {
                    "name": "TOKEN",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}},
                },
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "BOTH", "value": "$(NAME)-$$(NAME)-$(UNKNOWN)"},
                {"name": "HOME", "value": "/scratch/home"},
            ],
            volumeMounts=[
                {"name": "s", "mountPath": "/s"},
                {"name": "c", "mountPath": "/c"},
                {"name": "scratch", "mountPath": "/scratch"},
            ],
        ),
        volumes=[
            {
                "name": "s",
                "secret": {"secretName": "s", "items": [{"key": "token", "path": "only"}]},
            },
            {"name": "c", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
            {"name": "scratch", "emptyDir": {}},
        ],
    )

    machine.until(lambda: machine.phase() == "Succeeded")

    assert json.loads(machine.log()) == [
        "t0p",
        ["only"],
        "a: 1",
        "t0p",
        "p",
        "p-$(NAME)-$(UNKNOWN)",
        True,
    ]


def test_a_pod_waits_for_its_secret_and_says_so(machine: Any) -> None:
    machine.run(
        python("pass", volumeMounts=[{"name": "s", "mountPath": "/s"}]),
        volumes=[{"name": "s", "secret": {"secretName": "late"}}],
    )

    def warned() -> Any:
        events = machine.cluster.list(machine.cluster.resource("v1", "Event"))
        return [e["message"] for e in events if e["reason"] == "FailedMount"]

    machine.until(warned)
    assert warned() == ['MountVolume.SetUp failed for volume "s" : secret "late" not found']
    waiting = machine.pod()["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ContainerCreating"}

    machine.cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}})
    machine.until(lambda: machine.phase() == "Succeeded")


def test_an_image_that_is_not_ours_is_not_pulled(machine: Any) -> None:
    machine.run({"name": "main", "image": "nginx:1", "command": ["nginx"]})

    def reason() -> Any:
        found = get(machine.pod(), "status", "containerStatuses", default=[{}])
        return get(found[0], "state", "waiting", "reason")

    machine.until(lambda: reason() == "ErrImagePull")
    machine.until(lambda: reason() == "ImagePullBackOff")
    assert machine.phase() == "Pending"


def test_a_server_is_ready_when_its_probe_says_so_and_the_service_leads_to_it(machine: Any) -> None:
    proxy = ServiceProxy(machine.cluster)
    machine.cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "p"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }
    )
    machine.run(
        python(
            SERVER,
            args=["--host", "0.0.0.0", "--port", "5000"],
            ports=[{"name": "http", "containerPort": 5000}],
            startupProbe={"httpGet": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
            readinessProbe={"httpGet": {"port": "http", "path": "/readyz"}, "periodSeconds": 1},
            livenessProbe={"httpGet": {"port": 5000}, "periodSeconds": 1},
        ),
        restartPolicy="Always",
    )

    machine.until(lambda: is_true(machine.pod(), "Ready"))

    def answer() -> Any:
        url = proxy.url("web", 80)
        found = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import urllib.request as u; print(u.urlopen('{url}/hi').read())",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout.strip()

    machine.until(lambda: answer() == "b'/hi'")
    machine.cluster.delete(machine.key("Pod", "p"), grace_period_seconds=5)
    machine.until(machine.is_gone)
    assert answer() == ""
    proxy.stop()


def test_deletion_asks_first_and_then_kills_the_whole_group(machine: Any) -> None:
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    machine.run(python(stubborn))
    machine.until(lambda: machine.phase() == "Running" and machine.log().strip().isdecimal())
    grandchild = int(machine.log())

    machine.cluster.delete(machine.key("Pod", "p"), grace_period_seconds=1)
    machine.until(machine.is_gone)

    assert "asked" in machine.log()
    stat = Path(f"/proc/{grandchild}/stat")
    machine.until(lambda: not stat.exists() or ") Z " in stat.read_text())
    machine.until(lambda: not list((machine.state / "pods").iterdir()))


def test_a_pod_that_crashes_is_restarted_and_then_waits_longer_and_longer(machine: Any) -> None:
    machine.run(python("raise SystemExit(3)"), restartPolicy="Always")

    def status() -> Any:
        return get(machine.pod(), "status", "containerStatuses", default=[{}])[0]

    machine.until(lambda: get(status(), "state", "waiting", "reason") == "CrashLoopBackOff")

    assert status()["restartCount"] == 1
    assert status()["lastState"]["terminated"]["exitCode"] == 3
    assert "back-off 10s" in status()["state"]["waiting"]["message"]


def test_a_process_that_the_kernel_kills_counts_as_out_of_memory(machine: Any) -> None:
    machine.run(python(f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"))

    machine.until(lambda: machine.phase() == "Failed")

    assert (machine.ended()["exitCode"], machine.ended()["reason"]) == (137, "OOMKilled")


def test_the_probe_restarts_a_server_that_stops_answering(machine: Any) -> None:
    once = (
        "import os, pathlib, sys\n"
        "seen = pathlib.Path(os.environ['KAITO_ROOT'], 'data/seen')\n"
        "first = not seen.exists(); seen.write_text('')\n"
        "if first:\n    import time; time.sleep(600)\n" + SERVER
    )
    machine.run(
        python(
            once,
            args=["--host", "0.0.0.0", "--port=5000", "--port", "5000"],
            ports=[{"containerPort": 5000}],
            livenessProbe={"httpGet": {"port": 5000}, "periodSeconds": 1, "failureThreshold": 1},
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
        ),
        restartPolicy="Always",
        volumes=[{"name": "data", "emptyDir": {}}],
    )

    machine.until(lambda: machine.pod()["status"].get("containerStatuses"))
    machine.until(lambda: machine.pod()["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert machine.ended()["exitCode"] == 143


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux to end children")
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from kaito_laptop.core.child_process import ChildProcess\n"
        "log = Path(sys.argv[1])\n"
        "sleep = [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)']\n"
        "ChildProcess(sleep, {}, log, print)\n"
        "while True: time.sleep(1)\n"
    )
    log = tmp_path / "log"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(log)], env=env)
    end = time.monotonic() + 15
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < end:
        time.sleep(0.02)
    child = int(log.read_text())

    parent.kill()
    parent.wait()

    stat = Path(f"/proc/{child}/stat")
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
