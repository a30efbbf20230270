"""The quick start with the real runtime: real processes train, push and serve in the pods of a real control plane."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from e2e.control_plane import ControlPlane
from e2e.hook_gate import HookGate
from e2e.process_world import ProcessWorld
from e2e.real_world import Loop, RealWorld, real_story
from kaito_hooks.web.workspace import load_presets
from kaito_laptop.laptop import IMAGES, PRESETS, USER
from kaito_laptop.registry import Registry
from kaito_runtime.transfer.push import push_weights_image
from stories.test_real_loop import CONFIG, NAME, ROWS, processes_below

from support.builders import merged, tuning_workspace
from support.real import web_server
from support.story import OURS
from support.tiny_model import make_tiny_model

PASSWORD = "correct-horse"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Holds the weights of the preset; whoever pushes needs the password."""
    weights = load_presets().presets["tiny-demo"].weights
    (tmp_path / "model").mkdir()
    with Registry(tmp_path / "registry", {USER: PASSWORD}, [PRESETS]) as running:
        credentials = tmp_path / "config.json"
        credentials.write_text(docker_config(running), encoding="utf-8")
        image = f"{running.address}/{PRESETS}/{weights.image}"
        push_weights_image(make_tiny_model(tmp_path / "model"), image, [credentials])
        yield running


@pytest.fixture
def processes(
    loop: Callable[[RealWorld], Loop],
    plane: ControlPlane,
    gate: HookGate,
    registry: Registry,
    tmp_path: Path,
) -> Iterator[ProcessWorld]:
    world = ProcessWorld(plane, gate, loop, tmp_path / "state")
    images = {word.removeprefix("KAITO_").lower(): image for word, image in IMAGES.items()}
    place = f"{registry.address}/{PRESETS}"
    with real_story(world, preset_registry=place, **images) as story:
        assert isinstance(story, ProcessWorld)
        yield story


@pytest.mark.runtime
def test_the_quick_start_is_tuned_pushed_and_served_by_real_programs(
    processes: ProcessWorld, registry: Registry, tmp_path: Path
) -> None:
    world = processes
    data = tmp_path / "data"
    data.mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), data / "train.parquet")
    with web_server(data) as web:
        world.apply(push_secret(registry))
        world.apply(config_map())
        world.apply(workspace(registry, web))
        world.patiently(lambda: world.is_true(NAME, "TuningSucceeded"))
    world.patiently(lambda: world.is_true(NAME, "WorkspaceReady"))
    tuned = world.get("Workspace", NAME)["status"]["tuning"]
    assert tuned["quantization"] == "nf4"
    assert asked(world, "GET", "/").getheader("Kaito-Adapter-Digest") == tuned["digest"]
    answer = asked(world, "POST", "/chat", {"prompt": "Who is 3?"})
    assert json.loads(answer.read())["Result"]
    assert PASSWORD not in world.logs() + world.log.getvalue()
    world.deleted(NAME)
    assert processes_below(world.state / "pods") == []


def asked(
    world: ProcessWorld, method: str, path: str, body: object = None
) -> http.client.HTTPResponse:
    """Ask the Workspace's Service."""
    url = str(world.services.url(NAME, 80, world.namespace))
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer


def workspace(registry: Registry, web: str) -> dict[str, object]:
    tuning = {
        "preset": {"name": "tiny-demo"},
        "config": "params",
        "input": {"urls": [f"{web}/train.parquet?download=true"]},
        "output": {"image": f"{registry.address}/adapters/tiny:0.0.1", "imagePushSecret": "push"},
    }
    ours = merged(tuning_workspace(), OURS)
    return merged(ours, {"metadata": {"name": NAME}, "tuning": tuning})


def config_map() -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "params"},
        "data": {"training_config.yaml": CONFIG},
    }


def push_secret(registry: Registry) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "push"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": docker_config(registry)},
    }


def docker_config(registry: Registry) -> str:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return json.dumps({"auths": {registry.address: {"auth": auth}}})
