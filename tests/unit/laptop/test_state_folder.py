"""`kaito up` works in a folder of its own: what it did not write is never removed, and a refusal changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kaito_laptop.core.state_folder import MARK, MARKER, StateFolderError, is_taken, taken

EXAMPLE = Path(__file__).parents[3] / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml"


def bytes_below(folder: Path) -> dict[str, bytes | str]:
    """Every file and link below a folder, with its content or target."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def filled(folder: Path) -> Path:
    """A user's folder, with names that `kaito up` uses itself."""
    for name in ("thesis.tex", "logs/2026.log", "pods/list.txt", "registry/blobs/a", "up.json"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"mine: {name}", encoding="utf-8")
    return folder


def run_and_write(folder: Path, *, keep: bool = False) -> None:
    """What a run leaves while it goes on."""
    with taken(folder, keep=keep):
        for name in ("pods/1/volumes/a", "logs/default/p/c.log", "registry/blobs/b", "up.json"):
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("of kaito up", encoding="utf-8")


def a_folder_with_files(base: Path) -> Path:
    return filled(base / "work")


def a_folder_with_a_marker_of_other_words(base: Path) -> Path:
    folder = filled(base / "work")
    (folder / MARKER).write_text("mine", encoding="utf-8")
    return folder


def a_folder_whose_marker_is_a_link(base: Path) -> Path:
    (base / "marker").write_text(MARK, encoding="utf-8")
    folder = filled(base / "work")
    (folder / MARKER).symlink_to(base / "marker")
    return folder


def a_link_to_a_folder(base: Path) -> Path:
    (base / "link").symlink_to(filled(base / "work"))
    return base / "link"


def a_link_to_a_folder_of_ours(base: Path) -> Path:
    run_and_write(base / "state", keep=True)
    (base / "link").symlink_to(base / "state")
    return base / "link"


def a_dangling_link(base: Path) -> Path:
    (base / "link").symlink_to(base / "nothing")
    return base / "link"


def a_folder_of_ours_with_a_link_in_it(base: Path) -> Path:
    run_and_write(base / "state", keep=True)
    (base / "state" / "pods").symlink_to(filled(base / "work"))
    return base / "state"


def a_file(base: Path) -> Path:
    (base / "notes").write_text("mine", encoding="utf-8")
    return base / "notes"


def below_a_file(base: Path) -> Path:
    return a_file(base) / "state"


def unwritable(base: Path) -> Path:
    return Path("/proc/kaito-state")


def home(base: Path) -> Path:
    return Path.home()


def above_home(base: Path) -> Path:
    return Path.home().parent


def an_empty_working_folder(base: Path) -> Path:
    return Path.cwd()


def the_root(base: Path) -> Path:
    return Path("/")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home folder and an empty working folder: not even those are taken."""
    for name in ("users/home", "cwd"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "users/home"))
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_folder_with_files, "holds files that `kaito up` did not write, such as logs; write an"),
        (a_folder_with_a_marker_of_other_words, "holds files that `kaito up` did not write"),
        (a_folder_whose_marker_is_a_link, "holds files that `kaito up` did not write"),
        (a_link_to_a_folder, 'is a symbolic link; write the folder that it leads to: --state "$('),
        (a_link_to_a_folder_of_ours, "is a symbolic link; write the folder that it leads to"),
        (a_dangling_link, "is a symbolic link; write the folder that it leads to"),
        (a_folder_of_ours_with_a_link_in_it, "pods is a symbolic link"),
        (a_file, "is a file; write an empty or a new folder as --state"),
        (below_a_file, "notes: File exists); write an empty or a new folder as --state"),
        (unwritable, "write an empty or a new folder as --state"),
        (home, "is in use for other files; write an empty or a new folder as --state"),
        (above_home, "write an empty or a new folder as --state"),
        (an_empty_working_folder, "is in use for other files"),
        (the_root, "holds files that `kaito up` did not write"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_folder_that_is_not_ours_is_refused_and_loses_nothing(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    folder = make(tmp_path)
    before = bytes_below(tmp_path)
    with pytest.raises(StateFolderError) as found, taken(folder, keep=False):
        raise AssertionError("it was taken")
    assert words in str(found.value)
    assert bytes_below(tmp_path) == before
    assert not (folder / MARKER).exists() or MARKER in str(before)


def test_a_folder_that_was_made_is_gone_afterwards_and_its_parents_stay(tmp_path: Path) -> None:
    run_and_write(tmp_path / "new/deep/state")
    assert not (tmp_path / "new/deep/state").exists()
    assert (tmp_path / "new/deep").is_dir()


def test_an_empty_folder_is_taken_and_left_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run_and_write(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_what_somebody_else_put_there_meanwhile_stays(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", filled(tmp_path / "work")
    with taken(state, keep=False):
        (state / "mine.txt").write_text("mine", encoding="utf-8")
        (state / "pods").mkdir()
        (state / "pods" / "link").symlink_to(outside)
        (state / "registry").symlink_to(outside)
    assert (state / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in state.iterdir()) == ["mine.txt", "registry"]
    assert bytes_below(outside) == bytes_below(filled(tmp_path / "again"))


def test_keep_leaves_logs_and_images_and_no_secret(tmp_path: Path) -> None:
    run_and_write(tmp_path / "state", keep=True)
    assert sorted(bytes_below(tmp_path / "state")) == [
        MARKER,
        "logs/default/p/c.log",
        "registry/blobs/b",
    ]
    with taken(tmp_path / "state", keep=True):
        assert sorted(bytes_below(tmp_path / "state")) == [MARKER, "registry/blobs/b"]


def test_one_run_at_a_time(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with taken(state, keep=False):
        assert is_taken(state)
        before = bytes_below(state)
        with (
            pytest.raises(StateFolderError, match="another `kaito up` uses"),
            taken(state, keep=False),
        ):
            raise AssertionError("taken twice")
        assert bytes_below(state) == before
        assert is_taken(state)
    assert not is_taken(state)


def test_a_folder_left_by_a_killed_run_is_taken_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    code = (
        "import sys, time, pathlib; from kaito_laptop.core.state_folder import taken\n"
        "state = pathlib.Path(sys.argv[1])\n"
        "with taken(state, keep=False):\n"
        "    (state / 'pods').mkdir(); (state / 'up.json').write_text('{}')\n"
        "    print('taken', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(state)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_taken(state)
        process.send_signal(signal.SIGKILL)
    assert not is_taken(state)
    (state / "mine.txt").write_text("mine", encoding="utf-8")
    run_and_write(state)
    assert bytes_below(state) == {"mine.txt": b"mine"}


def test_the_command_says_so_before_anything_is_started(tmp_path: Path) -> None:
    folder = filled(tmp_path / "work")
    before = bytes_below(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for words in (["up", "-f", str(EXAMPLE), "--once"], ["demo"]):
        run = subprocess.run(
            [sys.executable, "-m", "kaito_laptop", *words, "--state", "."],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        assert f"{folder} holds files that `kaito up` did not write" in run.stderr
        assert "Traceback" not in run.stderr
        assert run.stdout == ""
        assert bytes_below(tmp_path) == before
