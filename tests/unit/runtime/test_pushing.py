"""push and pull of images, against the registry of the laptop."""

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from kaito_contract.reasons import Reason
from kaito_laptop.registry.server import Registry
from kaito_runtime.check import check_push
from kaito_runtime.transfer import layers, push
from kaito_runtime.transfer.pull import pull_image
from kaito_runtime.transfer.push import push_adapter, push_files, push_weights_image
from kaito_runtime.transfer.transport import Answer, Transport

from tests.unit.runtime.conftest import FailureOf

Entry = tuple[str, bytes | str]


def test_an_adapter_comes_back_by_digest(
    registry: Registry, credentials: Path, adapter_folder: Path, tmp_path: Path
) -> None:
    pushed = push_adapter(adapter_folder, f"{registry.address}/team/a:v1", [credentials])
    by_digest = f"{registry.address}/team/a@{pushed['digest']}"
    pulled = pull_image(by_digest, "/data", tmp_path / "to", [credentials])
    assert pulled["digest"] == pushed["digest"]
    assert pulled["files"] == 2
    for name in push.ADAPTER_FILES:
        assert (tmp_path / "to" / name).read_bytes() == (adapter_folder / name).read_bytes()
    assert registry.storage.open_uploads() == []


def test_the_same_adapter_has_the_same_digest_whenever_and_wherever_it_is_pushed(
    registry: Registry, credentials: Path, adapter_folder: Path
) -> None:
    first = push_adapter(adapter_folder, f"{registry.address}/team/a:v1", [credentials])
    for path in adapter_folder.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    second = push_adapter(adapter_folder, f"{registry.address}/other/b:v2", [credentials])
    assert first["digest"] == second["digest"]


def test_an_adapter_that_was_pulled_has_the_same_digest_where_it_is_pushed_again(
    registry: Registry, credentials: Path, adapter_folder: Path, tmp_path: Path
) -> None:
    """What the Job for a changed `tuning.output.image` does."""
    first = push_adapter(adapter_folder, f"{registry.address}/team/a:v1", [credentials])
    by_digest = f"{registry.address}/team/a@{first['digest']}"
    pull_image(by_digest, "/data", tmp_path / "to", [credentials])
    again = push_adapter(tmp_path / "to", f"{registry.address}/moved/a:v2", [credentials])
    assert again["digest"] == first["digest"]


def test_a_large_blob_goes_up_in_parts(
    registry: Registry, credentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaito_runtime.transfer.registry.PART_BYTES", 1000)
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(4321))
    image = f"{registry.address}/team/parts:v1"
    pushed = push_files({"data/blob": path}, image, [credentials])
    pull_image(image, "/data", tmp_path / "to", [credentials])
    assert (tmp_path / "to/blob").read_bytes() == path.read_bytes()
    assert pushed["bytes"] > 4321


def test_an_upload_resumes_where_the_connection_was_cut(
    registry: Registry,
    credentials: Path,
    adapter_folder: Path,
    transport: Transport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kaito_runtime.transfer.registry.PART_BYTES", 50_000)
    adapter_folder.joinpath("adapter_config.json").write_text('{"cut": "yes"}')  # not there yet
    sent = transport._send
    cuts = iter([False, True, False, True])

    def cut_some_patches(
        method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        if method == "PATCH" and next(cuts, False):
            assert body
            # Half of the part arrives before the connection is gone.
            half = {**headers, "Content-Length": "25000"}
            start = int(headers["Content-Range"].partition("-")[0])
            half["Content-Range"] = f"{start}-{start + 24999}"
            sent(method, url, half, body[:25000]).read()
            raise ConnectionResetError(104, "Connection reset by peer")
        return sent(method, url, headers, body)

    monkeypatch.setattr(transport, "_send", cut_some_patches)
    image = f"{registry.address}/team/resumed:v1"
    pushed = push_adapter(adapter_folder, image, [credentials], transport)
    pulled = pull_image(image, "/data", tmp_path / "to", [credentials])
    assert pulled["digest"] == pushed["digest"]


def test_a_wrong_password_is_push_denied_and_never_shown(
    registry: Registry,
    adapter_folder: Path,
    wrong_credentials: Path,
    password: str,
    failure_of: FailureOf,
) -> None:
    image = f"{registry.address}/team/a:v1"
    failure = failure_of(push_adapter, adapter_folder, image, [wrong_credentials])
    assert failure.reason is Reason.PUSH_DENIED
    assert str(wrong_credentials) in failure.message
    assert password not in failure.message


def test_no_credentials_are_push_denied_even_below_a_public_prefix(
    registry: Registry, adapter_folder: Path, failure_of: FailureOf
) -> None:
    failure = failure_of(push_adapter, adapter_folder, f"{registry.address}/public/a:v1", [])
    assert failure.reason is Reason.PUSH_DENIED
    assert "imagePushSecret" in failure.message


def test_a_private_image_is_pull_denied_and_a_public_one_needs_no_password(
    registry: Registry,
    credentials: Path,
    adapter_folder: Path,
    tmp_path: Path,
    failure_of: FailureOf,
) -> None:
    for name in ("team/private", "public/open"):
        push_adapter(adapter_folder, f"{registry.address}/{name}:v1", [credentials])
    private = f"{registry.address}/team/private:v1"
    failure = failure_of(pull_image, private, "/data", tmp_path / "to", [])
    assert failure.reason is Reason.PULL_DENIED
    public = f"{registry.address}/public/open:v1"
    assert pull_image(public, "/data", tmp_path / "to", [])["files"] == 2


def test_an_image_that_is_not_there_is_image_not_found(
    registry: Registry, credentials: Path, tmp_path: Path, failure_of: FailureOf
) -> None:
    image = f"{registry.address}/team/absent:v1"
    failure = failure_of(pull_image, image, "/data", tmp_path / "to", [credentials])
    assert failure.reason is Reason.IMAGE_NOT_FOUND
    assert not list((tmp_path / "to").iterdir())


def test_a_damaged_blob_is_a_digest_mismatch_and_leaves_nothing_behind(
    registry: Registry,
    credentials: Path,
    adapter_folder: Path,
    tmp_path: Path,
    failure_of: FailureOf,
) -> None:
    (adapter_folder / "adapter_config.json").write_text('{"peft_type": "LORA", "damage": 1}')
    pushed = push_adapter(adapter_folder, f"{registry.address}/team/bad:v1", [credentials])
    manifest = json.loads(registry.storage.blob(pushed["digest"]).read_bytes())
    blob = registry.storage.blob(manifest["layers"][0]["digest"])
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    image = f"{registry.address}/team/bad@{pushed['digest']}"
    failure = failure_of(pull_image, image, "/data", tmp_path / "to", [credentials])
    assert failure.reason is Reason.DIGEST_MISMATCH
    assert not list((tmp_path / "to").iterdir())


def test_a_registry_that_is_not_there_is_unreachable(
    adapter_folder: Path, tmp_path: Path, transport: Transport, failure_of: FailureOf
) -> None:
    push_failure = failure_of(push_adapter, adapter_folder, "127.0.0.1:1/team/a:v1", [], transport)
    pull_failure = failure_of(
        pull_image, "127.0.0.1:1/a:v1", "/data", tmp_path / "to", [], transport
    )
    assert push_failure.reason is pull_failure.reason is Reason.REGISTRY_UNREACHABLE
    assert "Connection refused" in push_failure.message


def test_an_output_image_that_can_not_be_pushed_to_says_what_to_write(
    adapter_folder: Path, failure_of: FailureOf
) -> None:
    image = "registry.example.com/team/adapter"
    failure = failure_of(push_adapter, adapter_folder, image, [])
    assert failure.reason is Reason.OUTPUT_IMAGE_INVALID
    assert failure.message == f"output image \"{image}\" must end with a tag, such as ':0.0.1'"


def test_a_folder_without_an_adapter_is_results_missing(
    tmp_path: Path, failure_of: FailureOf
) -> None:
    failure = failure_of(push_adapter, tmp_path, "registry.example.com/a/b:v1", [])
    assert failure.reason is Reason.RESULTS_MISSING


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"auths": 5}',
        '{"credsStore": "desktop"}',
        '{"auths": {"127.0.0.1:1": {"auth": "%%%"}}}',
        '{"auths": {"127.0.0.1:1": {}, "b": {"auth": ""}}}',
    ],
)
def test_credentials_that_can_not_be_read_are_invalid(
    content: str, tmp_path: Path, adapter_folder: Path, failure_of: FailureOf, transport: Transport
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    failure = failure_of(push_adapter, adapter_folder, "127.0.0.1:1/a/b:v1", [path], transport)
    expected = Reason.REGISTRY_UNREACHABLE if "{}" in content else Reason.CREDENTIALS_INVALID
    assert failure.reason is expected


def test_a_weights_image_holds_the_model_below_weights(
    registry: Registry, credentials: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub/part").write_text("x")
    image = f"{registry.address}/public/model:v1"
    push_weights_image(folder, image, [credentials])
    pull_image(image, "/weights", tmp_path / "to", [])
    assert (tmp_path / "to/config.json").read_text() == "{}"
    assert (tmp_path / "to/sub/part").read_text() == "x"


@pytest.fixture
def foreign_registry(tmp_path: Path) -> Iterator[str]:
    """The address of the reference implementation, where this machine has it."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("docker-registry is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "foreign")}}
    (tmp_path / "registry.yml").write_text(
        json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}})
    )
    process = subprocess.Popen(
        [program, "serve", str(tmp_path / "registry.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if "listening on" in line:
            break
    yield address
    process.terminate()
    process.communicate()


def test_the_reference_implementation_takes_and_gives_the_same(
    foreign_registry: str,
    registry: Registry,
    credentials: Path,
    adapter_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kaito_runtime.transfer.registry.PART_BYTES", 70_000)
    image = f"{foreign_registry}/team/a:v1"
    pushed = push_adapter(adapter_folder, image, [])
    ours = push_adapter(adapter_folder, f"{registry.address}/team/same:v1", [credentials])
    pulled = pull_image(image, "/data", tmp_path / "to", [])
    assert pushed["digest"] == ours["digest"] == pulled["digest"]
    check_push(image, [], Transport())


def layer(*entries: Entry, gz: bool = False) -> io.RawIOBase:
    """A tar; bytes are a file, text is the target of a symbolic link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if gz else "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    file.seek(0)
    return cast(io.RawIOBase, file)  # as far as a BufferedReader is concerned


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ((), ["a", "sub/b"]),
        ((("data/.wh.a", b""),), ["sub/b"]),
        ((("data/sub/.wh..wh..opq", b""), ("data/sub/c", b"")), ["a", "sub/c"]),
        ((("data/sub/c", b""), ("data/sub/.wh..wh..opq", b"")), ["a", "sub/c"]),
        (((".wh.data", b""), ("data/new", b"")), ["new"]),
        ((("etc/.wh.data", b""),), ["a", "sub/b"]),
        ((("./data/a/deeper", b""),), ["a/deeper", "sub/b"]),
    ],
)
def test_upper_layers_take_away_what_they_white_out(
    tmp_path: Path, upper: tuple[Entry, ...], left: list[str]
) -> None:
    layers.unpack(layer(("data/a", b"1"), ("data/sub/b", b"2"), ("etc/x", b"")), "/data", tmp_path)
    if upper != () and upper[0][0] == "./data/a/deeper":
        (tmp_path / "a").unlink()
    layers.unpack(layer(*upper, gz=True), "/data", tmp_path)
    assert names(tmp_path) == left


@pytest.mark.parametrize(
    "entries",
    [
        (("../data/x", b""),),
        (("data/link", "/etc/passwd"),),
        (("data/link", "../../outside"),),
        (("data/up", ".."),),
        (("data/a", "."), ("data/a/b", "../..")),
    ],
)
def test_a_layer_can_not_reach_out_of_its_folder(
    tmp_path: Path, entries: tuple[Entry, ...], failure_of: FailureOf
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    failure = failure_of(layers.unpack, layer(*entries), "/data", target)
    assert failure.reason is Reason.IMAGE_INVALID
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\x28\xb5\x2f\xfd" + b"x" * 600, "zstd"), (b"no tar at all" * 100, "not a readable tar")],
)
def test_a_layer_of_an_unknown_kind_is_named(
    tmp_path: Path, content: bytes, says: str, failure_of: FailureOf
) -> None:
    failure = failure_of(layers.unpack, io.BytesIO(content), "/data", tmp_path)
    assert failure.reason is Reason.IMAGE_INVALID
    assert says in failure.message


def test_an_image_without_the_path_is_invalid(
    registry: Registry,
    credentials: Path,
    adapter_folder: Path,
    tmp_path: Path,
    failure_of: FailureOf,
) -> None:
    image = f"{registry.address}/public/a:v1"
    push_adapter(adapter_folder, image, [credentials])
    failure = failure_of(pull_image, image, "/weights", tmp_path / "to", [])
    assert failure.reason is Reason.IMAGE_INVALID
    assert "no files below /weights" in failure.message
