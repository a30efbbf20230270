"""The whole loop with the real runtime: what is pushed is what is served, and a damaged adapter is refused."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from kaito_hooks.web.workspace import load_presets
from kaito_laptop.laptop import PRESETS
from kaito_runtime.transfer.push import push_weights_image

from support.builders import merged, tuning_workspace
from support.real import RealLaptop, real_laptop, web_server
from support.story import OURS
from support.tiny_model import make_tiny_model

NAME = "tuned"
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Who is {i}?"},
            {"role": "assistant", "content": f"Number {i}."},
        ]
    }
    for i in range(20)
]
CONFIG = """
training_config:
  ModelConfig: {torch_dtype: float32, local_files_only: true}
  QuantizationConfig:
    load_in_4bit: true
    bnb_4bit_quant_type: nf4
    bnb_4bit_compute_dtype: float32
    bnb_4bit_use_double_quant: true
  LoraConfig: {r: 4, lora_alpha: 8}
  TrainingArguments: {per_device_train_batch_size: 10, num_train_epochs: 2, learning_rate: 0.004}
"""


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[RealLaptop]:
    weights = load_presets().presets["tiny-demo"].weights
    model = tmp_path / "model"
    model.mkdir()
    credentials = tmp_path / "config.json"
    with real_laptop(tmp_path / "state") as running:
        credentials.write_text(running.laptop.docker_config(), encoding="utf-8")
        push_weights_image(
            make_tiny_model(model), f"{running.registry}/{PRESETS}/{weights.image}", [credentials]
        )
        yield running


@pytest.mark.runtime
def test_a_qlora_adapter_is_trained_pushed_served_by_digest_and_refused_when_damaged(
    laptop: RealLaptop, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), data / "train.parquet")
    with web_server(data) as web:
        apply_workspace(laptop, web)
        laptop.wait_for(NAME, "WorkspaceReady", seconds=150)
    digest = digest_in_registry(laptop)
    status = laptop.find("Workspace", NAME)["status"]["tuning"]
    assert status["digest"] == digest
    assert status["quantization"] == "nf4"
    assert quantized_modules(laptop) > 0
    deployment = laptop.find("Deployment", NAME)
    assert deployment["metadata"]["annotations"]["kaito.sh/adapter-digest"] == digest
    assert served_digest(laptop) == digest
    assert ask(laptop, "Who is 3?")
    damage_adapter(laptop)
    (pod,) = serving_pods(laptop)
    laptop.delete("Pod", pod)
    laptop.wait_reason(NAME, "DigestMismatch")
    assert laptop.is_true(NAME, "Stalled")
    laptop.delete("Workspace", NAME)
    kinds = ("Job", "Deployment", "Service", "Pod")
    laptop.wait(lambda: not any(laptop.list(kind) for kind in kinds), "what ran is gone")
    assert processes_below(laptop.state / "pods") == []


def apply_workspace(laptop: RealLaptop, web: str) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "params", "namespace": "default"},
        "data": {"training_config.yaml": CONFIG},
    }
    tuning = {
        "preset": {"name": "tiny-demo"},
        "config": "params",
        "input": {"urls": [f"{web}/train.parquet?download=true"]},
        "output": {"image": f"{laptop.registry}/adapters/tiny:0.0.1", "imagePushSecret": "push"},
    }
    workspace = merged(
        merged(tuning_workspace(), OURS), {"metadata": {"name": NAME}, "tuning": tuning}
    )
    laptop.apply(laptop.push_secret(), config, workspace)


def digest_in_registry(laptop: RealLaptop) -> str:
    connection = http.client.HTTPConnection(laptop.registry)
    headers = {
        "Authorization": f"Basic {laptop_auth(laptop)}",
        "Accept": "application/vnd.oci.image.manifest.v1+json",
    }
    connection.request("HEAD", "/v2/adapters/tiny/manifests/0.0.1", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    return str(answer.getheader("Docker-Content-Digest"))


def laptop_auth(laptop: RealLaptop) -> str:
    config = json.loads(laptop.push_secret()["stringData"][".dockerconfigjson"])
    return str(config["auths"][laptop.registry]["auth"])


def quantized_modules(laptop: RealLaptop) -> int:
    found = re.search(r'"quantizedModules": (\d+)', laptop.logs())
    return int(found[1]) if found else 0


def chat_address(laptop: RealLaptop) -> str:
    url = laptop.laptop.services.url(NAME, 80, "default")
    assert url
    return url.removeprefix("http://")


def served_digest(laptop: RealLaptop) -> str | None:
    connection = http.client.HTTPConnection(chat_address(laptop))
    connection.request("GET", "/")
    return connection.getresponse().getheader("Kaito-Adapter-Digest")


def ask(laptop: RealLaptop, question: str) -> str:
    connection = http.client.HTTPConnection(chat_address(laptop), timeout=60)
    connection.request(
        "POST", "/chat", json.dumps({"prompt": question}), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    assert answer.status == 200
    return str(json.loads(answer.read())["Result"])


def damage_adapter(laptop: RealLaptop) -> None:
    """Flip a byte in the largest blob that the pusher brought."""
    status = laptop.find("Workspace", NAME)["status"]["tuning"]
    connection = http.client.HTTPConnection(laptop.registry)
    headers = {"Authorization": f"Basic {laptop_auth(laptop)}"}
    connection.request("GET", f"/v2/adapters/tiny/manifests/{status['digest']}", headers=headers)
    layer = json.loads(connection.getresponse().read())["layers"][0]["digest"].partition(":")[2]
    blob = laptop.state / "registry" / "blobs" / layer
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(bytes(content))


def serving_pods(laptop: RealLaptop) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in laptop.list("Pod")
        if each["metadata"]["labels"].get("app.kubernetes.io/component") == "inference"
    ]


def processes_below(folder: Path) -> list[str]:
    """Processes whose root of the container lies in the folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = environ.read_bytes()
        except OSError:
            continue
        if f"KAITO_ROOT={folder}".encode() in text:
            found.append(environ.parent.name)
    return found
