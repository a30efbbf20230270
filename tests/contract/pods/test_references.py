"""One grammar of image references: what the hook lets through, the programs of the pods read, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito_contract import references
from kaito_contract.reasons import Reason
from kaito_hooks.errors import InvalidObject
from kaito_hooks.workspace import api, reasons
from kaito_hooks.workspace.children import tuning
from kaito_hooks.workspace.observed import Observed
from kaito_runtime.check import check_push
from kaito_runtime.pod.termination import Failure
from kaito_runtime.transfer.pull import pull_image
from kaito_runtime.transfer.transport import Transport

from tests.harness.builders import merged, tuning_workspace

DIGEST = "@sha256:" + "4c" * 32
BOTH, PULL, NONE = (True, True), (True, False), (False, False)
"""Whether it can be read from, whether it can be pushed to."""

TABLE = [
    ("r.example/team/adapter:0.0.1", BOTH),
    ("r.example/a:1", BOTH),
    ("r.example:5000/a:1", BOTH),
    ("R.Example/a:1", BOTH),
    ("localhost/a:1", BOTH),
    ("localhost:5000/a:1", BOTH),
    ("127.0.0.1:5000/a:1", BOTH),
    ("[::1]:5000/a:1", BOTH),
    ("docker.io/library/a:1", BOTH),
    ("r.example/a/b/c/d:v1.2_3-x", BOTH),
    ("r.example/a.b_c__d--e:1", BOTH),
    ("r.example/a:" + "x" * 128, BOTH),
    ("r.example/" + "a" * 255 + ":1", BOTH),
    ("r.example/a:_1", BOTH),
    ("a.b/c:1" + DIGEST, PULL),
    ("a.b/c" + DIGEST, PULL),
    ("team/x:1", PULL),
    ("x:1", PULL),
    ("x" + DIGEST, PULL),
    ("r.example/a", NONE),
    ("x", NONE),
    ("", NONE),
    ("r.example/a:é1", NONE),
    ("r.example/a:1é", NONE),
    ("r.example/a:", NONE),
    ("r.example/a:.1", NONE),
    ("r.example/a:-1", NONE),
    ("r.example/a:" + "x" * 129, NONE),
    ("r.example/" + "a" * 256 + ":1", NONE),
    ("r.example/Team/a:1", NONE),
    ("Team/a:1", NONE),
    ("r.example/a___b:1", NONE),
    ("r.example/a..b:1", NONE),
    ("r.example/-a:1", NONE),
    ("r.example//a:1", NONE),
    ("r.example/:1", NONE),
    ("/a:1", NONE),
    ("-r.example/a:1", NONE),
    ("r_x.example/a:1", NONE),
    ("r.example:port/a:1", NONE),
    ("https://r.example/a:1", NONE),
    ("r.example/a@sha256:4c", NONE),
    ("r.example/a@sha512:" + "4c" * 64, NONE),
    ("r.example/a:1@sha256:" + "4C" * 32, NONE),
    ("r.example/a:1@", NONE),
    (" r.example/a:1", NONE),
    ("r.example/a:1\n", NONE),
    ("r.example/a b:1", NONE),
]
every_reference = pytest.mark.parametrize(
    ("text", "expected"), TABLE, ids=[repr(text[:40]) for text, _ in TABLE]
)


@every_reference
def test_the_grammar(text: str, expected: tuple[bool, bool]) -> None:
    assert (is_read(references.parse, text), is_read(references.parse_output, text)) == expected
    if expected[0]:
        assert str(references.parse(text)).endswith(text)


@every_reference
def test_the_hook_takes_the_same(text: str, expected: tuple[bool, bool]) -> None:
    if not text:
        return  # no image at all, which is another rule
    assert hook_refuses({"urls": None, "image": text}, "input") == (
        "" if expected[0] else reasons.INPUT_INVALID
    )
    assert hook_refuses({"image": text}, "output") == (
        "" if expected[1] else Reason.OUTPUT_IMAGE_INVALID
    )


@every_reference
def test_the_programs_take_the_same(
    text: str, expected: tuple[bool, bool], tmp_path: Path, unreachable: Transport
) -> None:
    absent = [tmp_path / "absent"]  # what comes after the reference was read
    with pytest.raises(Failure) as pull:
        pull_image(text, "/data", tmp_path / "to", absent, unreachable)
    with pytest.raises(Failure) as push:
        check_push(text, absent, unreachable)
    read = Reason.CREDENTIALS_MISSING
    assert pull.value.reason is (read if expected[0] else Reason.IMAGE_INVALID)
    assert push.value.reason is (read if expected[1] else Reason.OUTPUT_IMAGE_INVALID)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("team/x:1", "must begin with a registry, such as registry.example/"),
        ("r.example/Team/a:1", "must have a lower-case repository, not 'Team/a'"),
        ("r.example/a", "must end with a tag, such as ':0.0.1'"),
        (
            "r.example/a@sha256:" + "4c" * 32,
            "must end with a tag, such as ':0.0.1', and not with a",
        ),
        ("r.example/a@4c", "must have 'sha256:' and 64 hexadecimal digits after the '@'"),
        ("https://r.example/a:1", "must be written without 'https://'"),
        ("r.example/a:é1", "must have a tag of 1 to 128 letters"),
        ("r_x.example/a:1", "must begin with a host name, which 'r_x.example' is not"),
        ("r.example/a..b:1", "must be an image reference, such as registry.example/team/adapter"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(references.InvalidReference) as caught:
        references.parse_output(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x:1", ("docker.io", "library/x", "1", "")),
        ("team/x:1", ("docker.io", "team/x", "1", "")),
        ("[::1]:5000/a/b:1", ("[::1]:5000", "a/b", "1", "")),
        ("r.example/a:1" + DIGEST, ("r.example", "a", "1", DIGEST[1:])),
    ],
)
def test_the_parts_of_a_reference(text: str, parts: tuple[str, str, str, str]) -> None:
    found = references.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == parts
    assert found.version == (parts[3] or parts[2])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("r.example:5000/team/a:1", "r.example:5000/team/a"),
        ("r.example/a" + DIGEST, "r.example/a"),
        ("a:1" + DIGEST, "a"),
    ],
)
def test_the_same_repository_is_named_by_digest(text: str, named: str) -> None:
    assert references.with_digest(text, "sha256:1") == f"{named}@sha256:1"


@pytest.fixture
def unreachable() -> Transport:
    return Transport(first_delay_seconds=0.0)


def is_read(parse: object, text: str) -> bool:
    try:
        parse(text)  # type: ignore[operator]
    except references.InvalidReference:
        return False
    return True


def hook_refuses(change: dict[str, str | None], side: str) -> str:
    """The reason with which the hook refuses a Workspace, empty when it does not."""
    written = merged(tuning_workspace(), {"tuning": {side: change}})
    workspace = api.parse(written)
    assert workspace.tuning is not None
    try:
        tuning.inputs(workspace, workspace.tuning, Observed(written, {}, {}), ())
    except InvalidObject as refused:
        return refused.reason
    return ""
