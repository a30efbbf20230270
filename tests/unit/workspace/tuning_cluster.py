"""A tuning Workspace in each of its states, and edits of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.harness.answers import child, kinds
from tests.harness.builders import (
    as_observed,
    complete_job,
    config_map,
    failed_job,
    merged,
    pod_of,
    ready_machine,
    tuning_workspace,
)
from tests.unit.workspace.test_tuning import CHECKED, PUSHED, TRAINED, rolled_out

NAME = "workspace-tuning-phi-3"
URL = "https://data.example/dolly/train.parquet"
CONFIG = "training_config:\n  QuantizationConfig: {load_in_4bit: true}\n  LoraConfig: {r: 4, lora_alpha: 8}\n"
TIDIED = (
    "# the team's settings\ntraining_config:\n\n  LoraConfig:\n    lora_alpha: 8\n    r: 4  # rank\n"
    "  QuantizationConfig:\n    load_in_4bit: yes\n"
)
OOM = ("train", 1, {"reason": "OutOfMemory", "message": "boom"})
Edit = Callable[["Cluster"], None]


@dataclass
class Cluster:
    """What the hook sees of one Workspace; the status goes back in as Metacontroller writes it."""

    sync: Any
    parent: dict[str, Any]
    config: str = CONFIG
    children: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)

    def look(self) -> dict[str, Any]:
        related = [config_map("params", self.config), *self.pods]
        answer: dict[str, Any] = self.sync(self.parent, self.children, related)
        self.parent = {**self.parent, "status": answer["status"]}
        return answer

    def change(self, **changes: Any) -> None:
        self.parent = merged(self.parent, changes)

    def retry(self, value: str | None) -> None:
        self.change(metadata={"annotations": {"kaito.sh/retry": value}})

    def apply(self, answer: dict[str, Any]) -> None:
        """As Metacontroller does, and the garbage collector: what is not in the answer goes, with its pods."""
        names = kinds(answer)
        kept = [c for c in self.children if (c["kind"], c["metadata"]["name"]) in names]
        there = [(c["kind"], c["metadata"]["name"]) for c in kept]
        made = [
            as_observed(c)
            for c in answer["children"]
            if (c["kind"], c["metadata"]["name"]) not in there
        ]
        front = [as_observed(child(answer, kind)) for kind in ("Secret", "Service")]
        others = [c for c in [*kept, *made] if c["kind"] not in ("Secret", "Service")]
        self.children = [*front, *others]
        jobs = {c["metadata"]["name"] for c in kept if c["kind"] == "Job"}
        self.pods = [p for p in self.pods if p["metadata"]["name"].removesuffix("-x7k2p") in jobs]


def cluster(sync: Any, state: str, retry: str | None = None) -> Cluster:
    """A Workspace that has come so far."""
    parent = tuning_workspace(
        tuning={"config": "params", "input": {"urls": [URL], "imagePullSecrets": ["data-pull"]}}
    )
    seen = Cluster(sync, parent)
    if retry:
        seen.retry(retry)
    seen.children = [as_observed(item) for item in seen.look()["children"]]
    check = child(seen.look(), "Job")
    if state == "check failed":
        seen.children += [failed_job(check)]
        bad = {"reason": "PushDenied", "message": "403"}
        seen.pods = [pod_of(check, ("check", 1, bad), phase="Failed")]
    if state == "check failed":
        seen.look()
        return seen
    seen.children += [complete_job(check)]
    seen.pods = [pod_of(check, CHECKED)]
    machine = child(seen.look(), "Machine")["metadata"]["name"]
    seen.children += [ready_machine(parent, machine)]
    job = next(
        c for c in seen.look()["children"] if c["metadata"]["name"] == NAME and c["kind"] == "Job"
    )
    pulled: list[Any] = [("weights", 0, {}), ("data", 0, {})]
    if state == "training":
        pod = pod_of(job, *pulled, phase="Pending")
        running = {"name": "train", "state": {"running": {"startedAt": "2026-11-02T09:20:00Z"}}}
        pod["status"]["initContainerStatuses"].append(running)
        seen.children += [as_observed(job, status={"active": 1})]
        seen.pods += [pod]
    if state == "pulling":
        seen.children += [as_observed(job, status={"active": 1})]
        seen.pods += [pod_of(job, pulled[0], phase="Pending")]
    if state == "failed":
        seen.children += [failed_job(job)]
        seen.pods += [pod_of(job, *pulled, OOM, phase="Failed")]
    if state == "served":
        seen.children += [complete_job(job)]
        seen.pods += [pod_of(job, *pulled, TRAINED, PUSHED)]
        seen.children += [as_observed(child(seen.look(), "Deployment"), status=rolled_out(1))]
    seen.look()
    return seen


def tidy(seen: Cluster) -> None:
    seen.config = TIDIED


def change(**changes: Any) -> Edit:
    return lambda seen: seen.change(**changes)


def tune(**changes: Any) -> Edit:
    return change(tuning=changes)


def retry(value: str | None) -> Edit:
    return lambda seen: seen.retry(value)


def raise_the_rank(seen: Cluster) -> None:
    seen.config = CONFIG.replace("r: 4", "r: 16")


OUTPUT = {"output": {"image": "other.example/adapters/phi-3:0.0.2"}}
PULL_SECRET = {"input": {"imagePullSecrets": ["renamed"]}}
PUSH_SECRET = {"output": {"imagePushSecret": "renamed"}}
SIGNED = {"input": {"urls": [f"{URL}?sv=2024&sp=r&se=2027-01-01&sig=abc"]}}
OTHER_URL = {"input": {"urls": ["https://data.example/other.parquet"]}}
IMAGE = {"input": {"urls": None, "image": "docker.io/team/data:1"}}
IDLE_EDITS: dict[str, Edit] = {
    "comments, newlines, order of keys": tidy,
    "pull Secret renamed": tune(**PULL_SECRET),
    "push Secret renamed": tune(**PUSH_SECRET),
    "URL signed anew": tune(**SIGNED),
    "output image": tune(**OUTPUT),
    "name of the data": tune(input={"name": "dolly"}),
    "nothing served": tune(serve=False),
    "LoadBalancer": change(metadata={"annotations": {"kaito.sh/enablelb": "True"}}),
    "retry set": retry("1"),
    "retry removed": retry(None),
}
INPUT_EDITS: dict[str, tuple[Edit, str]] = {
    "preset": (
        tune(preset={"name": "phi-3-mini-4k-instruct"}),
        "`tuning.preset.name` from 'phi-3-mini-128k-instruct' to 'phi-3-mini-4k-instruct'",
    ),
    "URL": (
        tune(**OTHER_URL),
        f"`tuning.input.urls` from [{URL}] to [https://data.example/other.parquet]",
    ),
    "image of data": (tune(**IMAGE), "`tuning.input.image` from none to 'docker.io/team/data:1'"),
    "value of the configuration": (
        raise_the_rank,
        "`LoraConfig.r` of training_config.yaml from 4 to 16",
    ),
    "defaults": (
        tune(config=""),
        "`LoraConfig.lora_alpha` of training_config.yaml from 8 to the default",
    ),
}


def jobs(answer: dict[str, Any]) -> list[str]:
    return [name for kind, name in kinds(answer) if kind == "Job"]


def of_kind(answer: dict[str, Any], kind: str) -> list[Any]:
    return [item for item in answer["children"] if item["kind"] == kind]


def specs(answer: dict[str, Any], kind: str) -> list[Any]:
    return [item["spec"] for item in of_kind(answer, kind)]
