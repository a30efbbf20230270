"""The registry of the laptop, as any image client sees it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaito_laptop.registry.server import Registry

AUTH = {"Authorization": "Basic " + base64.b64encode(b"team:word").decode()}
BLOB = b"some bytes"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
MANIFEST = json.dumps({"schemaVersion": 2, "layers": [{"digest": DIGEST, "size": 10}]}).encode()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path, {"team": "word"}, ["public"]) as running:
        yield running


@pytest.fixture
def send(registry: Registry) -> Any:
    return sender(registry)


def sender(registry: Registry) -> Any:
    def call(method: str, path: str, body: Any = None, **headers: Any) -> Any:
        connection = http.client.HTTPConnection(registry.address, timeout=5)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, body, {**AUTH, **named})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    return call


def push(send: Any, name: str = "team/a", tag: str = "v1") -> Any:
    assert send("POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", BLOB)[0] == 201
    status, headers, _ = send("PUT", f"/v2/{name}/manifests/{tag}", MANIFEST)
    assert status == 201
    return headers["Docker-Content-Digest"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/"), ("GET", "/v2/team/a/manifests/v1"), ("POST", "/v2/public/a/blobs/uploads/")],
)
@pytest.mark.parametrize("header", ["", "Basic bm9ib2R5OndvcmQ=", "Basic %%", "Bearer x"])
def test_without_the_password_nothing_is_pushed_and_nothing_private_is_read(
    send: Any, method: Any, path: Any, header: Any
) -> None:
    status, headers, _ = send(method, path, b"", Authorization=header)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic")


def test_anyone_reads_below_a_public_prefix(send: Any) -> None:
    push(send, "public/a")
    assert send("GET", "/v2/public/a/manifests/v1", Authorization="")[2] == MANIFEST
    assert send("GET", f"/v2/public/a/blobs/{DIGEST}", Authorization="")[2] == BLOB
    assert send("GET", "/v2/publicity/manifests/v1", Authorization="")[0] == 401


def test_a_manifest_is_found_by_tag_and_digest_and_deleted_by_either(send: Any) -> None:
    digest = push(send)
    push(send, tag="v2")
    assert send("GET", f"/v2/team/a/manifests/{digest}")[2] == MANIFEST
    assert send("HEAD", "/v2/team/a/manifests/v1")[1]["Docker-Content-Digest"] == digest
    assert json.loads(send("GET", "/v2/team/a/tags/list")[2])["tags"] == ["v1", "v2"]
    assert send("DELETE", "/v2/team/a/manifests/v1")[0] == 202
    assert send("GET", "/v2/team/a/manifests/v1")[0] == 404
    assert send("DELETE", f"/v2/team/a/manifests/{digest}")[0] == 202
    assert send("GET", "/v2/team/a/manifests/v2")[0] == 404


def test_a_manifest_whose_blobs_are_missing_is_refused(send: Any) -> None:
    status, _, body = send("PUT", "/v2/team/b/manifests/v1", MANIFEST)
    assert status == 400
    assert b"MANIFEST_BLOB_UNKNOWN" in body


def test_an_upload_in_parts_says_where_it_is(send: Any, registry: Registry) -> None:
    location = send("POST", "/v2/team/a/blobs/uploads/", b"")[1]["Location"]
    assert send("PATCH", location, BLOB[:4], Content_Range="0-3")[1]["Range"] == "0-3"
    assert send("PATCH", location, BLOB[6:], Content_Range="6-9")[0] == 416
    assert send("GET", location)[1]["Range"] == "0-3"
    assert send("PATCH", location, BLOB[4:], Content_Range="4-9")[0] == 202
    assert send("PUT", f"{location}?digest={DIGEST}", b"")[0] == 201
    assert registry.storage.open_uploads() == []


def test_other_bytes_than_the_digest_are_refused(send: Any) -> None:
    location = send("POST", "/v2/team/a/blobs/uploads/", b"")[1]["Location"]
    status, _, body = send("PUT", f"{location}?digest={DIGEST}", b"other")
    assert status == 400
    assert b"DIGEST_INVALID" in body


def test_a_cancelled_upload_is_gone(send: Any, registry: Registry) -> None:
    location = send("POST", "/v2/team/a/blobs/uploads/", b"")[1]["Location"]
    assert len(registry.storage.open_uploads()) == 1
    assert send("DELETE", location)[0] == 204
    assert registry.storage.open_uploads() == []
    assert send("GET", location)[0] == 404


def test_a_range_of_a_blob_is_sent(send: Any) -> None:
    push(send)
    status, headers, body = send("GET", f"/v2/team/a/blobs/{DIGEST}", Range="bytes=2-5")
    assert (status, body) == (206, BLOB[2:6])
    assert headers["Content-Range"] == f"bytes 2-5/{len(BLOB)}"
    assert send("GET", f"/v2/team/a/blobs/{DIGEST}", Range="bytes=99-")[0] == 416


def test_a_blob_is_mounted_from_another_repository(send: Any) -> None:
    push(send)
    path = f"/v2/team/c/blobs/uploads/?mount={DIGEST}&from=team/a"
    assert send("POST", path, b"")[0] == 201
    assert send("HEAD", f"/v2/team/c/blobs/{DIGEST}")[0] == 200


def test_what_was_pushed_survives_a_restart(tmp_path: Path, send: Any, registry: Registry) -> None:
    digest = push(send)
    with Registry(tmp_path, {}, ["team"]) as again:
        connection = http.client.HTTPConnection(again.address, timeout=5)
        connection.request("GET", f"/v2/team/a/manifests/{digest}")
        assert connection.getresponse().read() == MANIFEST
        connection.close()


@pytest.mark.parametrize("path", ["/v2/../x/manifests/v1", "/v2/A/manifests/v1", "/etc/passwd"])
def test_a_path_that_is_no_route_is_404(send: Any, path: Any) -> None:
    assert send("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/v2/a/../../../outside/blobs/uploads/?digest={DIGEST}"),
        ("PUT", "/v2/a/../../../outside/manifests/v1"),
        (
            "POST",
            f"/v2/team/a/blobs/uploads/?mount=../../../../mine.txt&from=team/a&digest={DIGEST}",
        ),
        ("POST", f"/v2/team/a/blobs/uploads/?mount={DIGEST}&from=../../outside&digest={DIGEST}"),
        ("DELETE", "/v2/team/a/blobs/uploads/..%2f..%2f..%2f..%2f..%2f..%2foutside-the-registry"),
        ("DELETE", "/v2/a/../../../outside/manifests/mine"),
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, method: Any, path: Any) -> None:
    with Registry(tmp_path / "registry", {"team": "word"}) as registry:
        push(sender(registry))
        leads_nowhere(sender(registry), tmp_path, method, path)


def leads_nowhere(send: Any, tmp_path: Path, method: str, path: str) -> None:
    for name in ("mine.txt", "outside/_blobs/mine", "outside/_tags/mine"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    status, _, _ = send(method, path, BLOB if method == "POST" else MANIFEST)
    assert status in (201, 404, 405)
    outside = [each for each in tmp_path.rglob("*") if "registry" not in each.parts]
    assert {each.read_text() for each in outside if each.is_file()} == {"mine"}
    assert len([each for each in outside if each.is_file()]) >= 3
