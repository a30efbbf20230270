from __future__ import annotations

import io
import json
import os
import threading
from typing import Any, Never

import pytest
from flask.testing import FlaskClient

from kaito_hooks.errors import BadRequest
from kaito_hooks.metacontroller import parse_sync
from kaito_hooks.web import create_app

PARENT = {
    "kind": "Machine",
    "metadata": {"name": "ws0", "namespace": "ml", "generation": 3, "uid": "u"},
}
BODY = {"parent": PARENT, "children": {}, "related": {}, "finalizing": False}


def echo(body: Any) -> Any:
    parse_sync(body)
    return {"status": {}, "children": []}


def client(hook: Any = echo, **more: Any) -> FlaskClient:
    return create_app({"/machine/sync": hook}, **{"log_stream": io.StringIO()} | more).test_client()


def test_answers_a_request_with_200_and_its_length() -> None:
    answer = client().post("/machine/sync", json=BODY)
    assert answer.status_code == 200
    assert answer.json == {"status": {}, "children": []}
    assert answer.content_length == len(answer.data)
    assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff\xfe",
        b'{"parent": {"metadata": {"name": "a", "namespace": "b", "generation": NaN}}}',
        b'{"parent": {"metadata": {"name": "a"}}}',
        b'{"parent": []}',
        b"[" * 200_000,
    ],
)
def test_a_body_that_is_no_request_is_400(body: Any) -> None:
    answer = client().post("/machine/sync", data=body)
    assert answer.status_code == 400
    assert answer.get_json()["error"]


def test_an_internal_error_is_500_and_says_nothing_of_the_object() -> None:
    log = io.StringIO()

    def fail(body: Any) -> Never:
        raise KeyError("hunter2")

    answer = client(fail, log_stream=log).post("/machine/sync", json=BODY)
    assert answer.status_code == 500
    assert answer.json == {"error": "internal error: KeyError"}
    assert "hunter2" not in log.getvalue()
    assert "test_shell.py" in log.getvalue()


def test_an_answer_that_is_no_json_is_500_and_never_an_empty_success() -> None:
    answer = client(lambda body: {"status": {"x": {1, 2}}}).post("/machine/sync", json=BODY)
    assert answer.status_code == 500


@pytest.mark.parametrize("path", ["/", "/machine", "/machine/sync/deeper", "/metrics/x"])
def test_an_unknown_path_is_404(path: Any) -> None:
    assert client().post(path, json=BODY).status_code == 404


def test_a_wrong_method_is_405() -> None:
    answer = client().get("/machine/sync")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/machine/sync/", "//machine/sync"])
def test_no_spelling_of_a_path_is_redirected(path: Any) -> None:
    assert client().post(path, json=BODY).status_code in (200, 404)


def test_health_is_independent_of_readiness() -> None:
    probe = client(ready=lambda: "no credential")
    assert probe.get("/healthz").status_code == 200
    answer = probe.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "no credential\n")
    assert client().get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ä", 401),
        ("Basic right", 401),
        ("Bearer right", 200),
        ("bearer right", 200),
    ],
)
def test_a_token_is_asked_for_when_set(header: Any, status: Any) -> None:
    headers = {"Authorization": header} if header else {}
    answer = client(token="right").post("/machine/sync", json=BODY, headers=headers)
    assert answer.status_code == status


def test_more_calls_than_the_limit_are_429_with_a_whole_retry_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kaito_hooks.web.MAX_IN_FLIGHT", 1)
    entered, leave = threading.Event(), threading.Event()

    def wait(body: Any) -> Any:
        entered.set()
        assert leave.wait(10)
        return {"status": {}}

    app = create_app({"/machine/sync": wait}, log_stream=io.StringIO())
    first = threading.Thread(target=lambda: app.test_client().post("/machine/sync", json=BODY))
    first.start()
    assert entered.wait(10)
    answer = app.test_client().post("/machine/sync", json=BODY)
    leave.set()
    first.join()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert app.test_client().post("/machine/sync", json=BODY).status_code == 200


def test_one_json_line_per_call_with_parent_generation_and_duration_and_no_body() -> None:
    log = io.StringIO()
    probe = client(log_stream=log)
    secret = {**BODY, "parent": {**PARENT, "spec": {"password": "hunter2"}}}
    probe.post("/machine/sync", json=secret)
    probe.get("/healthz")
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert line.pop("duration_seconds") >= 0
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "message": "Answered hook call",
        "route": "/machine/sync",
        "code": 200,
        "kind": "Machine",
        "namespace": "ml",
        "name": "ws0",
        "generation": 3,
    }


def test_without_a_stream_the_line_is_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    client(log_stream=None).post("/machine/sync", json=BODY)
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line)["route"] == "/machine/sync"


def test_a_call_is_answered_when_nobody_can_take_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        monkeypatch.setattr("sys.stdout", broken)
        assert client(log_stream=None).post("/machine/sync", json=BODY).status_code == 200


def test_metrics_count_calls_by_route_and_code() -> None:
    probe = client()
    probe.post("/machine/sync", json=BODY)
    probe.post("/machine/sync", data=b"{")
    text = probe.get("/metrics").text
    assert "# TYPE kaito_hook_call_seconds histogram" in text
    assert 'kaito_hook_call_seconds_count{code="200",route="/machine/sync"} 1.0' in text
    assert 'kaito_hook_call_seconds_bucket{code="400",le="+Inf",route="/machine/sync"} 1.0' in text


def test_a_hook_may_refuse_a_body() -> None:
    def refuse(body: Any) -> Never:
        raise BadRequest("`parent` must be an object")

    answer = client(refuse).post("/machine/sync", json=BODY)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "`parent` must be an object")
