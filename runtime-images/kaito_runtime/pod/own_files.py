"""Files written into a folder that may be somebody's volume: what others have put there is never changed.

<folder>/.kaito/written.json    the files that were written, with size and time, or a link's target
<folder>/.kaito/new-.../        what is being written

A file is ours while it is as it was written. One of another content in the place of a new file is a
failure, before anything of the folder has changed; one of the same content stays as it is.
"""

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure

OWN = ".kaito"
_RECORD, _NEW = "written.json", "new-"
_WRITTEN_BY = "kaito_runtime"


@contextmanager
def complete_or_nothing(to: Path) -> Iterator[Path]:
    """Give a folder to fill; its files move to `to` only when the block ends without error.

    They move in the order of their names. What an earlier call wrote there, and nobody changed since,
    is replaced or removed. The folder lies inside `to`, which may be a mounted volume: a rename stays
    on one file system.

    Raises:
        Failure: a file of somebody else is in the way; nothing was changed.
    """
    to.mkdir(parents=True, exist_ok=True)
    written = _Written.read(to)
    for left_over in written.own.glob(f"{_NEW}*"):
        if not left_over.is_symlink():
            shutil.rmtree(left_over)
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=written.own))
    try:
        yield new
        _move(new, written)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if not written.files:
            written.forget()


@dataclass(slots=True)
class _Written:
    """What earlier calls wrote into a folder."""

    folder: Path
    files: dict[str, list[str]]
    """Path in the folder -> what it may look like: as it was, and as it is about to be."""

    @property
    def own(self) -> Path:
        return self.folder / OWN

    @classmethod
    def read(cls, folder: Path, *, make: bool = True) -> "_Written":
        """Read the record of a folder, or begin one."""
        written = cls(folder, {})
        try:
            if written.own.is_symlink():
                raise ValueError
            content = json.loads((written.own / _RECORD).read_text())
            if content["writtenBy"] != _WRITTEN_BY:
                raise ValueError
            written.files = {str(name): list(looks) for name, looks in content["files"].items()}
        except FileNotFoundError:
            if written.own.exists() and any(written.own.iterdir()):
                raise _in_the_way(folder, OWN) from None
            if make:
                written.own.mkdir(exist_ok=True)
                written.save()
        except (NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            raise _in_the_way(folder, OWN) from None
        return written

    def save(self) -> None:
        """Write the record whole: a reader sees the old one or the new one."""
        content = {"writtenBy": _WRITTEN_BY, "files": self.files}
        unfinished = self.own / f".{_RECORD}"
        unfinished.write_text(json.dumps(content))
        unfinished.replace(self.own / _RECORD)

    def forget(self) -> None:
        """Remove the record: nothing of ours is in the folder."""
        (self.own / _RECORD).unlink()
        with suppress(OSError):
            self.own.rmdir()

    def has(self, name: str) -> bool:
        """Whether the file is there as it was written."""
        path = self.folder / name
        return os.path.lexists(path) and _look(path) in self.files.get(name, ())

    def require_free(self, new: Mapping[str, Path | None]) -> None:
        """Raise `Failure` unless each name can be written: nobody's, ours, or the same content."""
        for name, content in new.items():
            path = self.folder / name
            for above in reversed(Path(name).parents[:-1]):
                place = self.folder / above
                is_folder = place.is_dir() and not place.is_symlink()
                if os.path.lexists(place) and not is_folder and not self.has(above.as_posix()):
                    raise _in_the_way(self.folder, above.as_posix())
            if path.is_dir() and not path.is_symlink():
                for below in _files(path):
                    found = below.relative_to(self.folder).as_posix()
                    if not self.has(found):
                        raise _in_the_way(self.folder, found)
            elif os.path.lexists(path) and not self.has(name) and not _is_same(path, content):
                raise _in_the_way(self.folder, name)

    def remove(self, name: str) -> None:
        """Remove a file of ours, and the folders that are empty then."""
        if self.has(name):
            (self.folder / name).unlink()
            with suppress(OSError):
                for above in Path(name).parents[:-1]:
                    (self.folder / above).rmdir()


def _move(new: Path, written: _Written) -> None:
    found = {path.relative_to(new).as_posix(): path for path in _files(new)}
    written.require_free(found)
    before = written.files
    looks = {name: _look(path) for name, path in found.items()}
    kept = {
        name
        for name, path in found.items()
        if not written.has(name) and _is_same(written.folder / name, path)
    }
    # Both stand in the record while the files move, so that a killed program knows its files again.
    written.files = {name: [*before.get(name, ())] for name in {*before, *looks}}
    for name, look in looks.items():
        written.files[name] += [look]
    written.save()
    for name in sorted(before.keys() - found.keys()):
        written.remove(name)
    for name, path in found.items():
        if name not in kept:
            target = written.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    written.files = {name: [look] for name, look in looks.items() if name not in kept}
    written.save()


def _files(folder: Path) -> list[Path]:
    """Return files and links below a folder; no link is followed."""
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]


def _look(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    state = path.lstat()
    return f"{state.st_size} bytes, {state.st_mtime_ns} ns"


def _is_same(path: Path, content: Path | None) -> bool:
    if content is None or path.is_symlink() or content.is_symlink() or not path.is_file():
        return False
    return filecmp.cmp(path, content, shallow=False)


def _in_the_way(folder: Path, name: str) -> Failure:
    return Failure(
        Reason.OUTPUT_PATH_INVALID,
        f"{folder} already holds {name}, which this program did not write and does not overwrite; "
        "move it away, or name an empty folder",
    )
