"""check, and the downloads that it and pull make."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaito_contract.reasons import Reason
from kaito_laptop.registry.server import Registry
from kaito_runtime import check
from kaito_runtime.transfer.pull import pull_urls
from kaito_runtime.transfer.transport import Transport

from tests.unit.runtime.conftest import FailureOf, Web

Check = Callable[..., Mapping[str, Any]]

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
CONFIG = "training_config:\n  DatasetConfig: {shuffle_dataset: true}\n"
ROW = json.dumps({"messages": MESSAGES}).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=100)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.fixture
def run(
    web: Web, registry: Registry, credentials: Path, tmp_path: Path, transport: Transport
) -> Check:
    """Run check on `content` behind a URL."""

    def call(
        content: bytes | None = ROW,
        path: str = "/data.jsonl?sig=secret-signature",
        config: str = CONFIG,
        **flags: str | None,
    ) -> Mapping[str, Any]:
        if content is not None:
            web.files.setdefault(path.partition("?")[0], content)
        (tmp_path / "c.yaml").write_text(config)
        arguments = {
            "data-url": web.url(path),
            "output-image": f"{registry.address}/team/out:v1",
            "config": str(tmp_path / "c.yaml"),
            "credentials": str(credentials),
        } | {key.replace("_", "-"): value for key, value in flags.items()}
        line = [x for k, v in arguments.items() if v is not None for x in (f"--{k}", v)]
        return check.main(line, transport)

    return call


def test_good_data_and_a_good_password_pass_and_the_upload_is_cancelled(
    run: Check, registry: Registry
) -> None:
    assert run() == {
        "rows": 1,
        "columns": ["messages"],
        "files": [{"name": "data.jsonl", "format": "jsonl", "bytes": len(ROW)}],
    }
    assert registry.storage.open_uploads() == []


def test_large_parquet_is_read_by_range(run: Check, web: Web) -> None:
    noise = random.Random(0)
    rows = [
        {"messages": [{"role": "user", "content": noise.randbytes(500).hex()}]}
        for _ in range(12_000)
    ]
    content = parquet(rows)
    assert run(content, "/large.parquet")["rows"] == 12_000
    assert web.sent < len(content) / 2


def test_parquet_is_read_from_a_server_without_range(run: Check, web: Web) -> None:
    web.has_ranges = False
    assert run(parquet([{"messages": MESSAGES}] * 3), "/no-extension")["rows"] == 3


@pytest.mark.parametrize(
    ("content", "path", "reason", "says"),
    [
        (b"<!DOCTYPE html><html>login", "/a.parquet", Reason.DATA_UNREADABLE, "PAR1"),
        (b"<!DOCTYPE html><html>login", "/a", Reason.DATA_UNREADABLE, "web page"),
        (b"PAR1" + b"x" * 100, "/a.parquet", Reason.DATA_UNREADABLE, "damaged"),
        (b"\x1f\x8b\x08", "/a.jsonl.gz", Reason.DATA_UNREADABLE, "gzip"),
        (b"version https://git-lfs.github.com/spec/v1", "/a.jsonl", Reason.DATA_UNREADABLE, "LFS"),
        (b"\xff\xfe\x00 no text", "/a.csv", Reason.DATA_UNREADABLE, "UTF-8"),
        (ROW + b"\n{broken", "/a.jsonl", Reason.DATA_UNREADABLE, "line 2"),
        (b'[{"messages": []}, {', "/a.json", Reason.DATA_COLUMNS_INVALID, "row 1"),
        (b'[{"text": "a"}, {', "/a.json", Reason.DATA_UNREADABLE, "element 2"),
        (b"a,b\n1,2,3\n", "/a.csv", Reason.DATA_UNREADABLE, "columns"),
        (b"", "/a.jsonl", Reason.DATA_EMPTY, "empty"),
        (b"  \n", "/a.jsonl", Reason.DATA_EMPTY, "empty"),
        (b"[]", "/a.json", Reason.DATA_EMPTY, "no row"),
        (b"messages\n", "/m.csv", Reason.DATA_EMPTY, "no row"),
        (b'{"q": 1}', "/a.jsonl", Reason.DATA_COLUMNS_INVALID, '"q"'),
        (b'{"messages": "hi"}', "/a.jsonl", Reason.DATA_COLUMNS_INVALID, "list of messages"),
        (b'{"messages": [{"from": "x"}]}', "/a.jsonl", Reason.DATA_COLUMNS_INVALID, '"from"'),
        (
            b'{"messages": [{"role": "bot", "content": "x"}]}',
            "/a.jsonl",
            Reason.DATA_COLUMNS_INVALID,
            '"bot"',
        ),
        (b'{"prompt": "a", "completion": 5}', "/a.jsonl", Reason.DATA_COLUMNS_INVALID, "int"),
    ],
)
def test_data_that_can_not_be_trained_on_is_named(
    run: Check,
    web: Web,
    failure_of: FailureOf,
    content: bytes,
    path: str,
    reason: Reason,
    says: str,
) -> None:
    if not content:
        web.has_ranges = False  # a range of nothing is an error of its own
    failure = failure_of(run, content, path)
    assert failure.reason is reason, failure.message
    assert says in failure.message


@pytest.mark.parametrize(
    ("content", "config", "columns"),
    [
        (b'{"prompt": "a", "completion": "b"}', "{}", ["prompt", "completion"]),
        (
            b"question,answer\na,b\n",
            "{context_column: question, response_column: answer}",
            ["question", "answer"],
        ),
        (b'[{"text": "a"}, {"text": "b"}]', "{}", ["text"]),
        (b'{"talk": [{"role": "user", "content": "x"}]}', "{messages_column: talk}", ["talk"]),
    ],
)
def test_other_columns_are_found_by_name_or_by_configuration(
    run: Check, content: bytes, config: str, columns: list[str]
) -> None:
    report = run(content, "/data", config=f"training_config: {{DatasetConfig: {config}}}")
    assert report["columns"] == columns


def test_a_configured_column_that_is_not_there_is_named_with_those_that_are(
    run: Check, failure_of: FailureOf
) -> None:
    config = "training_config: {DatasetConfig: {messages_column: chats}}"
    failure = failure_of(run, config=config)
    assert failure.reason is Reason.DATA_COLUMNS_INVALID
    assert '"chats"' in failure.message
    assert '"messages"' in failure.message


def test_a_url_that_does_not_exist_is_unreachable_and_its_signature_is_not_shown(
    run: Check, failure_of: FailureOf
) -> None:
    failure = failure_of(run, None, "/absent.jsonl?sig=secret-signature")
    assert failure.reason is Reason.DATA_UNREACHABLE
    assert "404" in failure.message
    assert "secret" not in failure.message


def test_a_wrong_password_is_found_before_the_data_is_read(
    run: Check, web: Web, wrong_credentials: Path, failure_of: FailureOf
) -> None:
    failure = failure_of(run, credentials=str(wrong_credentials))
    assert failure.reason is Reason.PUSH_DENIED
    assert web.requests == []


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"output_image": "no-tag.example.com/x"}, Reason.OUTPUT_IMAGE_INVALID),
        ({"output_image": "127.0.0.1:1/x:v1"}, Reason.REGISTRY_UNREACHABLE),
        ({"credentials": "/does/not/exist"}, Reason.CREDENTIALS_MISSING),
        ({"config": "/does/not/exist"}, Reason.CONFIG_INVALID),
        ({"data_url": "ftp://example.com/x"}, Reason.DATA_UNREACHABLE),
    ],
)
def test_each_input_that_can_not_be_used_has_its_reason(
    run: Check, failure_of: FailureOf, flags: dict[str, str], reason: Reason
) -> None:
    assert failure_of(run, **flags).reason is reason


def test_data_of_an_image_is_checked(
    run: Check, registry: Registry, credentials: Path, tmp_path: Path
) -> None:
    from kaito_runtime.transfer.push import push_files

    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(ROW)
    (folder / "README.md").write_text("about these rows")
    image = f"{registry.address}/team/data:v1"
    push_files({"data/rows.jsonl": folder / "rows.jsonl"}, image, [credentials])
    assert run(data_url=None, data_image=image)["rows"] == 1


def test_a_download_survives_busy_answers_and_resumes_after_cuts(
    web: Web, tmp_path: Path, transport: Transport
) -> None:
    content = random.Random(2).randbytes(100_000)
    web.files["/a.parquet"] = content
    web.failures = [503, 429]
    web.cuts = [30_000, 20_000]
    report = pull_urls([web.url("/a.parquet?x=1")], tmp_path / "to", transport)
    assert report["bytes"] == len(content)
    assert (tmp_path / "to/a.parquet").read_bytes() == content
    assert web.sent == len(content) + 2 * len(b"busy")


def test_a_download_starts_over_where_the_server_can_not_resume(
    web: Web, tmp_path: Path, transport: Transport
) -> None:
    web.has_ranges = False
    web.files["/a"] = b"x" * 50_000
    web.cuts = [30_000]
    pull_urls([web.url("/a")], tmp_path / "to", transport)
    assert (tmp_path / "to/a").stat().st_size == 50_000


def test_a_download_that_is_cut_for_ever_fails_and_leaves_nothing(
    web: Web, tmp_path: Path, transport: Transport, failure_of: FailureOf
) -> None:
    web.files["/a"] = b"x" * 50_000
    web.cuts = [0] * 30
    failure = failure_of(pull_urls, [web.url("/a")], tmp_path / "to", transport)
    assert failure.reason is Reason.DATA_UNREACHABLE
    assert not list((tmp_path / "to").iterdir())


def test_two_urls_of_one_name_are_refused(
    web: Web, tmp_path: Path, transport: Transport, failure_of: FailureOf
) -> None:
    urls = [web.url("/a/x.parquet"), web.url("/b/x.parquet")]
    assert "rename" in failure_of(pull_urls, urls, tmp_path, transport).message
