"""A real control plane on loopback: etcd, API server, controllers and scheduler as plain processes."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kaito_laptop.core.child_process import ChildProcess, free_port
from kaito_laptop.core.cluster import ClusterError

from tests.harness.api_connection import Connection

HOST = "127.0.0.1"
START_SECONDS = 90.0
END_SECONDS = 10.0
LOOK_SECONDS = 0.1
WITHOUT = ("node-lifecycle-controller", "certificatesigningrequest-signing-controller")
"""Controllers that are off: nodes here have no kubelet that reports, and nobody asks for certificates."""


class StartError(Exception):
    """A part did not come up; the message has the end of its log."""


class ControlPlane:
    """Everything of it lies in one folder and ends with `stop`."""

    def __init__(self, programs: Mapping[str, Path], without: Sequence[str] = ()) -> None:
        """`without` names more controllers of the controller manager that are off."""
        self._programs = programs
        self._without = (*WITHOUT, *without)
        self._folder = Path(tempfile.mkdtemp(prefix="kaito-e2e-"))
        self._processes: list[tuple[str, ChildProcess]] = []
        self._token = secrets.token_urlsafe(24)
        self.kubeconfig = self._folder / "kubeconfig"
        self.logs = self._folder / "logs"

    def start(self) -> Self:
        """Return when the API server, the controllers and the scheduler work."""
        self.logs.mkdir()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the processes, the last started first, and remove the folder."""
        while self._processes:
            _, process = self._processes.pop()
            process.signal(signal.SIGTERM)
            if not process.wait(END_SECONDS):
                process.kill()
                process.wait(END_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, name: str, words: Sequence[str | Path]) -> ChildProcess:
        """Start a process that ends with the control plane."""
        environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        log = self.logs / f"{name}.log"
        started = ChildProcess([str(each) for each in words], environment, log, lambda code: None)
        self._processes.append((name, started))
        return started

    def end(self, process: ChildProcess) -> None:
        """Kill one of the processes."""
        self._processes = [each for each in self._processes if each[1] is not process]
        process.kill()
        process.wait(END_SECONDS)

    def wait_for(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait for a condition; raise when it does not come or when a process has ended."""
        end = time.monotonic() + START_SECONDS
        while not reached():
            ended = [name for name, process in self._processes if not process.is_running]
            if ended or time.monotonic() > end:
                why = f"{ended[0]} ended" if ended else "it takes too long"
                raise StartError(f"{what} did not start, {why}:\n{self.tail((ended or [what])[0])}")
            time.sleep(LOOK_SECONDS)

    def tail(self, name: str, size: int = 3000) -> str:
        """Return the end of the log of a process."""
        log = self.logs / f"{name}.log"
        return log.read_text(errors="replace")[-size:] if log.exists() else ""

    def _start(self) -> None:
        clients, peers, port = (free_port() for _ in range(3))
        key, tokens = self._folder / "service-accounts.key", self._folder / "tokens.csv"
        key.write_bytes(_private_key())
        tokens.write_text(f'{self._token},admin,admin,"system:masters"\n')
        etcd, certificates = f"http://{HOST}:{clients}", self._folder / "certificates"
        self.run("etcd", self._etcd(etcd, f"http://{HOST}:{peers}"))
        self.run("kube-apiserver", self._api_server(etcd, port, certificates, key, tokens))
        certificate = certificates / "apiserver.crt"
        self.wait_for("kube-apiserver", certificate.exists)
        self._write_kubeconfig(port, certificate)
        self._connection = Connection(self.kubeconfig)
        self.wait_for("kube-apiserver", lambda: self._answers("/readyz?verbose=0"))
        self.run("kube-controller-manager", self._controllers(key, certificate))
        self.run("kube-scheduler", self._scheduler())
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait_for("kube-controller-manager", lambda: self._answers(account))

    def _answers(self, path: str) -> bool:
        with suppress(ValueError):
            try:
                self._connection.request("GET", path)
            except ClusterError:
                return False
        return True

    def _etcd(self, clients: str, peers: str) -> list[str | Path]:
        return [
            self._programs["etcd"],
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_server(
        self, etcd: str, port: int, certificates: Path, key: Path, tokens: Path
    ) -> list[str | Path]:
        return [
            self._programs["kube-apiserver"],
            f"--etcd-servers={etcd}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={port}",
            f"--cert-dir={certificates}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            # The address of a Service `kubernetes` would be a loopback one, which is refused.
            "--endpoint-reconciler-type=none",
            # Only the node lifecycle controller would take this taint off again.
            "--disable-admission-plugins=TaintNodesByCondition",
        ]

    def _controllers(self, key: Path, certificate: Path) -> list[str | Path]:
        return [
            self._programs["kube-controller-manager"],
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(['*', *(f'-{each}' for each in self._without)])}",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={certificate}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]

    def _scheduler(self) -> list[str | Path]:
        configuration = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": str(self.kubeconfig), "qps": 500, "burst": 1000},
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 1,
        }
        path = self._folder / "scheduler.yaml"
        path.write_text(json.dumps(configuration))
        return [self._programs["kube-scheduler"], f"--config={path}", "--secure-port=0"]

    def _write_kubeconfig(self, port: int, certificate: Path) -> None:
        authority = base64.b64encode(certificate.read_bytes()).decode()
        cluster = {
            "server": f"https://{HOST}:{port}",
            "certificate-authority-data": authority,
        }
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "admin"}}],
            "current-context": "e2e",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(configuration))


def _private_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
