"""No program of the runtime changes a file that it did not write: a user's volume may be mounted there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_contract.reasons import Reason
from kaito_runtime.demo import lesson, make
from kaito_runtime.pod.own_files import complete_or_nothing
from kaito_runtime.pod.termination import Failure
from kaito_runtime.transfer import pull, push

Program = Callable[[Path, Path, pytest.FixtureRequest], None]
"""Writes into its second folder; what it needs beside that is in the first."""

MINE = b"written by a person"


def bytes_below(folder: Path) -> dict[str, str | bytes]:
    """Every file and link below a folder, but for the runtime's own notes."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and ".kaito" not in path.parts
    }


def put(folder: Path, name: str, content: bytes = MINE) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pull_data(base: Path, to: Path, request: pytest.FixtureRequest) -> None:
    web = request.getfixturevalue("web")
    web.files["/rows.jsonl"] = b'{"text": "a"}\n'
    pull.main(["data", "--url", web.url("/rows.jsonl?download=true"), "--to", str(to)])


def pull_image(base: Path, to: Path, request: pytest.FixtureRequest) -> None:
    registry, login = (request.getfixturevalue(name) for name in ("registry", "credentials"))
    layer = put(base, "layer/model.safetensors", b"weights")
    image = f"{registry.address}/team/weights:v1"
    files = {"data/model.safetensors": layer, "data/tokenizer/vocab.json": layer}
    push.push_files(files, image, [login])
    pull.main(["data", "--image", image, "--to", str(to), "--credentials", str(login)])


def save_adapter(base: Path, to: Path, request: pytest.FixtureRequest) -> None:
    from kaito_contract.sections import LoraConfig, QuantizationConfig
    from kaito_runtime.models import adapters, load
    from kaito_runtime.models.rendering import Rendering

    weights = request.getfixturevalue("weights")
    placement = load.choose_placement("float32")
    network = load.load_base(weights, placement, QuantizationConfig())
    tuned = adapters.add_adapter(network, LoraConfig(r=2), checkpointing=False)
    adapters.save_adapter(tuned, to, "/workspace/weights", Rendering())


def copy_demo_model(base: Path, to: Path, request: pytest.FixtureRequest) -> None:
    cached = make.cached_model(base / "cache")
    put(cached, "config.json", b"{}")
    put(cached, "model.safetensors", b"weights")
    make.main(["--to", str(to), "--cache", str(base / "cache")])


PROGRAMS = {
    pull_data: "rows.jsonl",
    pull_image: "tokenizer/vocab.json",
    save_adapter: "adapter_config.json",
    copy_demo_model: "model.safetensors",
}
"""Each program that writes into a folder that it is given, and a file that it writes."""

every_program = pytest.mark.parametrize(
    ("program", "name"),
    [
        pytest.param(program, name, marks=pytest.mark.runtime if program is save_adapter else ())
        for program, name in PROGRAMS.items()
    ],
    ids=[program.__name__ for program in PROGRAMS],
)


def a_users_folder(to: Path) -> Path:
    for name in (
        "thesis.tex",
        ".partial-mine/a",
        ".adapter-mine/a",
        ".cache/huggingface/a",
        ".adapter_config.json.partial",
        "new-mine/a",
        "tokenizer/mine.json",
    ):
        put(to, name)
    (to / "link").symlink_to("thesis.tex")
    return to


@every_program
def test_what_is_beside_stays(
    tmp_path: Path, request: pytest.FixtureRequest, program: Program, name: str
) -> None:
    to = a_users_folder(tmp_path / "to")
    before = bytes_below(to)
    for _ in range(2):
        program(tmp_path, to, request)
        assert before.items() <= bytes_below(to).items()
        assert bytes_below(to) != before


@every_program
def test_a_file_of_the_same_name_is_refused_and_nothing_changes(
    tmp_path: Path, request: pytest.FixtureRequest, program: Program, name: str
) -> None:
    to = a_users_folder(tmp_path / "to")
    put(to, name)
    before = bytes_below(to)
    with pytest.raises(Failure) as caught:
        program(tmp_path, to, request)
    assert caught.value.reason is Reason.OUTPUT_PATH_INVALID
    assert f"already holds {name}, which this program did not write" in caught.value.message
    assert bytes_below(to) == before


@every_program
def test_a_link_in_the_place_of_a_file_is_not_followed(
    tmp_path: Path, request: pytest.FixtureRequest, program: Program, name: str
) -> None:
    outside, to = put(tmp_path, "outside"), tmp_path / "to"
    (to / name).parent.mkdir(parents=True)
    (to / name).symlink_to(outside)
    with pytest.raises(Failure, match=f"already holds {name}"):
        program(tmp_path, to, request)
    assert outside.read_bytes() == MINE


@every_program
def test_a_folder_of_that_name_is_refused(
    tmp_path: Path, request: pytest.FixtureRequest, program: Program, name: str
) -> None:
    to = tmp_path / "to"
    put(to, f"{name}/mine.txt")
    before = bytes_below(to)
    with pytest.raises(Failure, match=f"already holds {name}/mine.txt"):
        program(tmp_path, to, request)
    assert bytes_below(to) == before


@every_program
def test_a_file_of_ours_that_somebody_changed_is_theirs(
    tmp_path: Path, request: pytest.FixtureRequest, program: Program, name: str
) -> None:
    to = tmp_path / "to"
    program(tmp_path, to, request)
    put(to, name)
    before = bytes_below(to)
    with pytest.raises(Failure, match=f"already holds {name}"):
        program(tmp_path, to, request)
    assert bytes_below(to) == before


@pytest.mark.parametrize("own", ["a file", "a folder", "a link", "a record of somebody else"])
def test_a_name_of_ours_that_somebody_else_has_is_refused(tmp_path: Path, own: str) -> None:
    to = tmp_path / "to"
    if own == "a file":
        put(to, ".kaito")
    elif own == "a folder":
        put(to, ".kaito/new-x/mine")
    elif own == "a link":
        put(tmp_path, "elsewhere/new-x/mine")
        to.mkdir()
        (to / ".kaito").symlink_to(tmp_path / "elsewhere")
    else:
        put(to, ".kaito/written.json", json.dumps({"files": {"a": []}}).encode())
        put(to, ".kaito/new-x/mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(Failure, match=r"already holds \.kaito"), complete_or_nothing(to):
        raise AssertionError("it was taken")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_killed_program_left_is_taken_away(tmp_path: Path) -> None:
    with complete_or_nothing(tmp_path) as new:
        put(new, "a")
    put(tmp_path, ".kaito/new-killed/half")
    with complete_or_nothing(tmp_path) as new:
        put(new, "b")
    assert bytes_below(tmp_path) == {"b": MINE}
    assert [path.name for path in (tmp_path / ".kaito").iterdir()] == ["written.json"]


def test_a_program_that_was_killed_between_two_files_knows_both_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with complete_or_nothing(tmp_path) as new:
        put(new, "a", b"first")
        put(new, "b", b"first")
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if Path(target).name == "b":
            raise KeyboardInterrupt
        return replace(path, target)

    def write(content: bytes) -> None:
        with complete_or_nothing(tmp_path) as new:
            put(new, "a", content)
            put(new, "b", content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(b"second")
    assert bytes_below(tmp_path) == {"a": b"second", "b": b"first"}
    write(b"third")
    assert bytes_below(tmp_path) == {"a": b"third", "b": b"third"}


def test_the_same_content_of_somebody_else_stays_and_stays_theirs(tmp_path: Path) -> None:
    theirs = put(tmp_path, "a", b"same")
    inode = theirs.stat().st_ino
    with complete_or_nothing(tmp_path) as new:
        put(new, "a", b"same")
    assert theirs.stat().st_ino == inode
    with pytest.raises(Failure, match="already holds a"), complete_or_nothing(tmp_path) as new:
        put(new, "a", b"other")


def test_the_names_of_a_lesson_must_be_free(tmp_path: Path) -> None:
    data, config = put(tmp_path, "rows.parquet"), tmp_path / "training_config.yaml"
    arguments = ["--data", str(data), "--config", str(config)]
    with pytest.raises(Failure, match=r"rows\.parquet exists already; move it away"):
        lesson.main(arguments)
    assert bytes_below(tmp_path) == {"rows.parquet": MINE}
    data.unlink()
    put(tmp_path, config.name)
    with pytest.raises(Failure, match=r"training_config\.yaml exists already"):
        lesson.main(arguments)
    assert config.read_bytes() == MINE


def test_a_folder_in_the_cache_that_is_no_model_is_not_removed(tmp_path: Path) -> None:
    cached = make.cached_model(tmp_path / "cache")
    put(cached, "mine.txt")
    with pytest.raises(Failure, match="exists and is not a demo model"):
        make.main(["--to", str(tmp_path / "to"), "--cache", str(tmp_path / "cache")])
    assert (cached / "mine.txt").read_bytes() == MINE


PATHS = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", ".kaito/written.json", "d/e"])
TREES = st.dictionaries(PATHS, st.sampled_from([b"one", b"two"]), max_size=4).filter(
    lambda tree: not ("d/e" in tree and "d/e/a" in tree)
)


@settings(deadline=None, max_examples=100)
@given(theirs=TREES, rounds=st.lists(TREES, min_size=1, max_size=3))
def test_no_byte_of_somebody_else_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory,
    theirs: dict[str, bytes],
    rounds: list[dict[str, bytes]],
) -> None:
    to = tmp_path_factory.mktemp("to")
    for name, content in theirs.items():
        put(to, name, content)
    for tree in rounds:
        try:
            with complete_or_nothing(to) as new:
                for name, content in tree.items():
                    put(new, name, content)
            written = True
        except Failure:
            written = False
        for name, content in theirs.items():
            assert (to / name).read_bytes() == content
        if written:
            assert {name: (to / name).read_bytes() for name in tree} == tree
            assert set(bytes_below(to)) == {*theirs, *tree} - {".kaito/written.json"}
    shutil.rmtree(to)
