"""The whole loop with the real runtime: what is pushed is what is served, and a damaged adapter is refused."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import closing
from email.message import Message
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from kaito_hooks.web.workspace import load_presets
from kaito_laptop.cli.laptop import PRESETS
from kaito_laptop.registry.routes import OCI_MANIFEST
from kaito_runtime.transfer.push import push_weights_image

from tests.harness.builders import inference_workspace, merged, tuning_workspace
from tests.harness.process_story import ProcessStory, web_server
from tests.harness.story import OURS
from tests.harness.tiny_model import make_tiny_model

NAME, BESIDE = "tuned", "beside-its-base"
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
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "params"},
    "data": {"training_config.yaml": CONFIG},
}

KEY = "key-of-the-story"
API_KEYS = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "chat-keys"},
    "stringData": {"api-keys": f"# of the story\n{KEY}\n"},
}


@pytest.fixture
def loop_story(processes: ProcessStory, tmp_path: Path) -> ProcessStory:
    """With the weights of the preset in the registry."""
    weights = load_presets().presets["tiny-demo"].weights
    (tmp_path / "model").mkdir()
    credentials = tmp_path / "config.json"
    credentials.write_text(processes.docker_config(), encoding="utf-8")
    image = f"{processes.registry.address}/{PRESETS}/{weights.image}"
    push_weights_image(make_tiny_model(tmp_path / "model"), image, [credentials])
    return processes


@pytest.mark.runtime
def test_a_qlora_adapter_is_trained_pushed_served_by_digest_and_refused_when_damaged(
    loop_story: ProcessStory, tmp_path: Path
) -> None:
    story = loop_story
    data = tmp_path / "data"
    data.mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), data / "train.parquet")
    with web_server(data) as web:
        story.apply(story.push_secret())
        story.apply(API_KEYS)
        story.apply(CONFIG_MAP)
        story.apply(workspace(story, web))
        story.patiently(lambda: story.is_true(NAME, "TuningSucceeded"))
    story.patiently(lambda: story.is_true(NAME, "WorkspaceReady"))
    tuned = story.get("Workspace", NAME)["status"]["tuning"]
    assert tuned["digest"] == digest_in_registry(story)
    assert tuned["quantization"] == "nf4"
    assert quantized_modules(story) > 0
    deployment = story.get("Deployment", NAME)
    assert deployment["metadata"]["annotations"]["kaito.sh/adapter-digest"] == tuned["digest"]
    assert asked(story, "GET", "/")[0]["Kaito-Adapter-Digest"] == tuned["digest"]
    headers, answer = asked(story, "POST", "/chat", {"prompt": "Who is 3?"})
    assert json.loads(answer)["Result"]
    assert story.is_true(NAME, "AdapterVerified")
    proven = "base matches, tokenizer matches, template matches, largest difference "
    assert headers["Kaito-Adapter-Verified"].startswith(proven)
    figures = asked(story, "GET", "/metrics")[1].decode()
    assert f'kaito_adapter_verified{{adapter="{NAME}",base="matches",' in figures
    for stranger in ("", "Bearer somebody-elses-key"):
        asked(story, "POST", "/chat", {"prompt": "Who?"}, authorization=stranger, status=401)
    story.apply(served_beside_its_base(story))
    story.patiently(lambda: story.is_true(BESIDE, "WorkspaceReady"))
    assert story.is_true(BESIDE, "AdapterVerified")
    models = json.loads(asked(story, "GET", "/v1/models", name=BESIDE)[1])["data"]
    assert {"base", "default", "numbers"} == {each["id"] for each in models}
    question = {"prompt": "Who is 3?", "max_tokens": 4}
    for model, verified in (("numbers", True), ("base", False)):
        body = {**question, "model": model}
        headers, _ = asked(story, "POST", "/v1/completions", body, name=BESIDE)
        assert ("Kaito-Adapter-Verified" in headers) == verified
    story.delete("Workspace", BESIDE)
    assert story.password not in story.logs()
    assert KEY not in story.logs()
    pushed_again(story)
    damage_adapter(story)
    (pod,) = story.pods(NAME, **{"app.kubernetes.io/component": "inference"})
    story.delete("Pod", pod["metadata"]["name"])
    story.says("DigestMismatch", NAME)
    assert story.is_true(NAME, "Stalled")
    story.deleted(NAME)
    assert processes_below(story.state / "pods") == []


def pushed_again(story: ProcessStory) -> None:
    """Change the tag of the output: the same adapter is there, and what serves it goes on."""
    tuned = story.get("Workspace", NAME)["status"]["tuning"]
    image = f"{story.registry.address}/adapters/tiny:0.0.2"
    job = story.get("Job", NAME)["metadata"]["uid"]
    (pod,) = story.pods(NAME, **{"app.kubernetes.io/component": "inference"})
    story.edit("Workspace", NAME, lambda item: item["tuning"]["output"].update(image=image))
    story.patiently(lambda: story.get("Workspace", NAME)["status"]["tuning"]["image"] == image)
    story.patiently(lambda: story.is_true(NAME, "WorkspaceReady"))
    assert digest_in_registry(story, "0.0.2") == tuned["digest"]
    assert story.get("Workspace", NAME)["status"]["tuning"] == {**tuned, "image": image}
    assert story.get("Job", NAME)["metadata"]["uid"] == job
    (after,) = story.pods(NAME, **{"app.kubernetes.io/component": "inference"})
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]


def workspace(story: ProcessStory, web: str) -> dict[str, object]:
    tuning = {
        "preset": {"name": "tiny-demo"},
        "config": "params",
        "input": {"urls": [f"{web}/train.parquet?download=true"]},
        "output": {
            "image": f"{story.registry.address}/adapters/tiny:0.0.1",
            "imagePushSecret": "push",
        },
    }
    ours = merged(tuning_workspace(), OURS)
    annotations = {"kaito.sh/api-keys-secret": "chat-keys", "kaito.sh/requests-per-minute": "600"}
    metadata = {"name": NAME, "annotations": annotations}
    return merged(ours, {"metadata": metadata, "tuning": tuning})


def served_beside_its_base(story: ProcessStory) -> dict[str, object]:
    """The adapter that was pushed, in a Workspace that only serves."""
    source = {
        "name": "numbers",
        "image": f"{story.registry.address}/adapters/tiny:0.0.1",
        "imagePullSecrets": ["push"],
    }
    inference = {"preset": {"name": "tiny-demo"}, "adapters": [{"source": source}]}
    changes = {"metadata": {"name": BESIDE}, "inference": inference}
    return merged(merged(inference_workspace(), OURS), changes)


def digest_in_registry(story: ProcessStory, tag: str = "0.0.1") -> str:
    headers, _ = fetched(story, "HEAD", f"manifests/{tag}", {"Accept": OCI_MANIFEST})
    return str(headers["Docker-Content-Digest"])


def quantized_modules(story: ProcessStory) -> int:
    found = re.search(r'"quantizedModules": (\d+)', story.logs())
    return int(found[1]) if found else 0


def asked(
    story: ProcessStory,
    method: str,
    path: str,
    body: object = None,
    authorization: str = f"Bearer {KEY}",
    status: int = 200,
    name: str = NAME,
) -> tuple[Message, bytes]:
    """Headers and body that the Workspace's Service answers."""
    url = str(story.services.url(name, 80, story.namespace))
    text = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    return answered(url.removeprefix("http://"), method, path, headers, text, status)


def fetched(
    story: ProcessStory, method: str, path: str, headers: dict[str, str]
) -> tuple[Message, bytes]:
    """Headers and body that the registry answers for the adapter's repository."""
    auth = json.loads(story.docker_config())["auths"][story.registry.address]["auth"]
    headers = {"Authorization": f"Basic {auth}", **headers}
    return answered(story.registry.address, method, f"/v2/adapters/tiny/{path}", headers)


def answered(
    address: str,
    method: str,
    path: str,
    headers: dict[str, str],
    text: str | None = None,
    status: int = 200,
) -> tuple[Message, bytes]:
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        assert answer.status == status
        return answer.headers, answer.read()


def damage_adapter(story: ProcessStory) -> None:
    """Flip a byte in the layer that the pusher brought."""
    digest = story.get("Workspace", NAME)["status"]["tuning"]["digest"]
    manifest = json.loads(fetched(story, "GET", f"manifests/{digest}", {})[1])
    blob = story.registry.storage.blob(manifest["layers"][0]["digest"])
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(bytes(content))


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
