"""Who may ask the model server, and how much."""

from __future__ import annotations

import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, closing
from email.message import Message
from pathlib import Path
from typing import Any

import openai
import pytest

from kaito_contract.reasons import Reason
from kaito_runtime.serving.http.app import make_app
from kaito_runtime.serving.http.auth import ApiKeys
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.rate_limit import RateLimiter, RateLimits
from kaito_runtime.serving.http.state import ServerState

from tests.harness.echo_engine import EchoEngine
from tests.harness.http_server import eventually, http_server
from tests.unit.runtime.conftest import FailureOf

KEYS = "first-key-of-the-team\n\n# the bot's\nsecond-key-of-a-bot\n"
ASK: Any = [{"role": "user", "content": "Hi"}]
FREE = {"/healthz", "/readyz", "/openapi.json", "/docs"}


def status_of(url: str, **headers: str) -> tuple[int, Message]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def state(**more: Any) -> ServerState:
    return ServerState("text-generation", engine=EchoEngine(), **more)


@pytest.mark.parametrize("key", ["first-key-of-the-team", "second-key-of-a-bot"])
def test_each_key_of_the_list_is_valid(key: str) -> None:
    keys = ApiKeys(KEYS)
    assert len(keys) == 2
    assert keys.holder(f"Bearer {key}") == keys.holder(f"bearer  {key} ")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic first-key-of-the-team", "first-key-of-the-team",
     "Bearer # the bot's", "Bearer first-key-of-the-teamx", "Bearer \x80"],
)  # fmt: skip
def test_anything_else_is_none(authorization: str) -> None:
    with pytest.raises(ApiError) as caught:
        ApiKeys(KEYS).holder(authorization)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert "key-of" not in caught.value.message


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")
    keys = ApiKeys.from_file(file)
    replacement = tmp_path / "replacement"
    replacement.write_text("new\n")
    replacement.replace(file)  # as the kubelet exchanges a Secret
    assert keys.holder("Bearer new")
    with pytest.raises(ApiError):
        keys.holder("Bearer old")


def write_as_kubelet(volume: Path, generation: str, text: str) -> None:
    """Exchange the folder of a mounted Secret: the files are links into the folder that `..data` names."""
    folder = volume / f"..{generation}"
    folder.mkdir(parents=True)
    (folder / "api-keys").write_text(text)
    (volume / "..data_tmp").symlink_to(folder.name)
    (volume / "..data_tmp").replace(volume / "..data")
    for old in volume.glob("..2*"):
        if old != folder:
            shutil.rmtree(old)


def test_a_secret_that_is_rotated_changes_the_keys_of_a_running_server(tmp_path: Path) -> None:
    write_as_kubelet(tmp_path, "2026_11_02", "old-key\n")
    (tmp_path / "api-keys").symlink_to("..data/api-keys")
    keyed = state(keys=ApiKeys.from_file(tmp_path / "api-keys"))
    with http_server(keyed) as url:

        def statuses() -> list[int]:
            bearers = [{"Authorization": f"Bearer {key}-key"} for key in ("old", "new")]
            return [status_of(f"{url}/v1/models", **bearer)[0] for bearer in bearers]

        assert statuses() == [200, 401]
        # As long as the old one, and within one tick of the clock of the file system.
        write_as_kubelet(tmp_path, "2026_11_03", "new-key\n")
        assert statuses() == [401, 200]
        assert [status_of(f"{url}{path}")[0] for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_file_that_is_lost_is_logged_once_and_read_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")
    keys = ApiKeys.from_file(file)
    for text in ("new\n", "newest\n"):
        file.unlink()
        caplog.clear()
        for _ in range(3):
            with pytest.raises(ApiError):
                keys.holder("Bearer none of them")
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "is not readable (No such file or directory)" in record.getMessage()
        file.write_text(text)
        assert keys.holder(f"Bearer {text.strip()}")


def test_no_key_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    file.write_text("first-secret\n")
    keys = ApiKeys.from_file(file)
    with caplog.at_level(logging.DEBUG):
        for text in ("the-second-secret\n", "# none of the secrets\n"):
            file.write_text(text)
            with pytest.raises(ApiError):
                keys.holder("Bearer wrong-secret")
    assert "The file of API keys has changed; 1 are valid" in caplog.text
    assert "has none now" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("# none\n")])
def test_a_file_that_is_lost_or_emptied_locks_nobody_out_and_lets_nobody_in(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")
    keys = ApiKeys.from_file(file)
    change(file)
    assert keys.holder("Bearer old")
    with pytest.raises(ApiError):
        keys.holder("Bearer ")


def test_a_file_without_a_key_is_config_invalid(tmp_path: Path, failure_of: FailureOf) -> None:
    (tmp_path / "empty").write_text("\n# nothing\n")
    assert failure_of(ApiKeys.from_file, tmp_path / "empty").reason is Reason.CONFIG_INVALID
    assert failure_of(ApiKeys.from_file, tmp_path / "missing").reason is Reason.CONFIG_INVALID


def test_every_route_but_health_and_what_holds_no_secret_needs_a_key() -> None:
    keyed = state(keys=ApiKeys(KEYS))
    app = make_app(keyed)
    patterns = [rule.matcher.regex.pattern for rule in app.wildcard_router.rules]  # type: ignore[attr-defined]
    paths = {pattern.removesuffix("$").replace("(.+)", "echo") for pattern in patterns}
    with http_server(keyed) as url:
        refused = {path for path in paths | {"/nothing"} if status_of(url + path)[0] == 401}
        assert refused == (paths | {"/nothing"}) - FREE
        good = {"Authorization": "Bearer second-key-of-a-bot"}
        assert status_of(f"{url}/metrics", **good)[0] == 200
        assert status_of(f"{url}/nothing", **good)[0] == 404
        assert status_of(f"{url}/metrics")[1]["WWW-Authenticate"] == "Bearer"


def test_the_official_client_with_a_wrong_key_is_told_so() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(http_server(state(keys=ApiKeys(KEYS))))
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
        stack.enter_context(closing(client))
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model="default", messages=ASK)
        assert caught.value.code == "invalid_api_key"
        right = client.with_options(api_key="first-key-of-the-team")
        assert right.chat.completions.create(model="default", messages=ASK).choices


def test_a_key_has_so_many_requests_in_any_minute() -> None:
    now = 100.0
    limiter = RateLimiter(RateLimits(requests_per_minute=2), clock=lambda: now)

    def ask(holder: bytes) -> int | None:
        try:
            with limiter.turn(holder):
                return None
        except ApiError as error:
            return error.retry_seconds

    assert [ask(b"a"), ask(b"a"), ask(b"b")] == [None, None, None]
    now = 130.5
    assert ask(b"a") == 30  # the first of them is forgotten then
    assert ask(b"b") is None
    now = 160.0
    assert [ask(b"a"), ask(b"a"), ask(b"a")] == [None, None, 60]


def test_a_key_has_so_many_requests_at_a_time() -> None:
    limiter = RateLimiter(RateLimits(concurrent=1))
    with limiter.turn(b"a"):
        with pytest.raises(ApiError, match="at a time"), limiter.turn(b"a"):
            pass
        with limiter.turn(b"b"):
            pass
    with limiter.turn(b"a"):
        pass


def test_a_request_too_many_is_429_with_when_to_come_back_and_others_are_served() -> None:
    limiter = RateLimiter(RateLimits(requests_per_minute=1), clock=lambda: 5.0)
    limited = state(keys=ApiKeys(KEYS), rate=limiter)
    with ExitStack() as stack:
        url = stack.enter_context(http_server(limited))

        def ask(key: str) -> object:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
            with closing(client):
                return client.chat.completions.create(model="default", messages=ASK)

        assert ask("first-key-of-the-team")
        with pytest.raises(openai.RateLimitError) as caught:
            ask("first-key-of-the-team")
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["Retry-After"] == "60"
        assert ask("second-key-of-a-bot")


def test_a_client_that_leaves_gives_its_place_back() -> None:
    limited = state(rate=RateLimiter(RateLimits(concurrent=1)))
    engine = limited.engine
    assert isinstance(engine, EchoEngine)
    engine.holds = True
    with http_server(limited) as url:
        for _ in range(2):
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=0.2)
            with closing(client), pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="default", messages=ASK)
            eventually(lambda: limited.running == 0)
