"""The folder that a `kaito up` keeps its files in: taken only when it is ours, and left as it was found.

<state>/.kaito-state      says that the folder is ours; locked while a `kaito up` runs
<state>/up.json           where the running cluster listens (control_server.py)
<state>/pods, logs, registry, demo-model, demo-model.docker.json

Nothing else in the folder is ever removed, and no symbolic link is followed out of it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kaito_laptop.core.errors import LaptopError

MARKER = ".kaito-state"
MARK = "kaito up made this folder. The files that it writes here are removed when it ends.\n"
PODS, LOGS, REGISTRY, WAY_IN = "pods", "logs", "registry", "up.json"
DEMO_MODEL, DEMO_CREDENTIALS = "demo-model", "demo-model.docker.json"
_LEFT_BY_A_RUN = (PODS, WAY_IN, DEMO_MODEL, DEMO_CREDENTIALS)
"""What no run needs from the one before, and what holds secrets."""
_NAME_ANOTHER = "write an empty or a new folder as --state"
_OURS = (*_LEFT_BY_A_RUN, LOGS, REGISTRY)


class StateFolderError(LaptopError):
    """The folder cannot be used; the message says what to write instead, and nothing was changed."""


@contextmanager
def taken(folder: Path, *, keep: bool) -> Iterator[None]:
    """Hold the folder for one run; afterwards remove what was written, but for logs and images with `keep`.

    Raises:
        StateFolderError: it is not ours, in use, or can't be written.
    """
    try:
        was_made = _make(folder)
        lock = _lock(folder)
    except OSError as error:
        raise StateFolderError(
            f"{folder} cannot be used as state folder ({error.filename or folder}: "
            f"{error.strerror}); {_NAME_ANOTHER}"
        ) from error
    try:
        _remove(folder, (*_LEFT_BY_A_RUN, LOGS))
        yield
    finally:
        _remove(folder, _LEFT_BY_A_RUN if keep else (*_OURS, MARKER))
        if was_made and not keep:
            with suppress(OSError):  # what is left in it is somebody else's
                folder.rmdir()
        os.close(lock)


def is_taken(folder: Path) -> bool:
    """Whether a `kaito up` runs on this folder."""
    try:
        marker = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(marker, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(marker)
    return False


def _make(folder: Path) -> bool:
    """Refuse a folder that holds anything that is not ours, else make and mark it; say whether it was made."""
    where = shlex.quote(str(folder))
    if folder.is_symlink():
        raise StateFolderError(
            f"{folder} is a symbolic link; write the folder that it leads to: "
            f'--state "$(realpath {where})"'
        )
    if folder.exists() and not folder.is_dir():
        raise StateFolderError(f"{folder} is a file; {_NAME_ANOTHER}")
    if folder.is_dir() and not _is_marked(folder):
        below = f"{_NAME_ANOTHER}: --state {shlex.quote(str(folder / 'kaito-state'))}"
        if found := sorted(path.name for path in folder.iterdir()):
            raise StateFolderError(
                f"{folder} holds files that `kaito up` did not write, such as {found[0]}; {below}"
            )
        if _is_precious(folder):
            raise StateFolderError(f"{folder} is in use for other files; {below}")
    for name in _OURS:
        if (folder / name).is_symlink():
            raise StateFolderError(
                f"{folder / name} is a symbolic link, which `kaito up` did not write; "
                f"remove it: rm {shlex.quote(str(folder / name))}"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    was_made = not folder.exists()
    if was_made:
        folder.mkdir(mode=0o700)
    return was_made


def _is_precious(folder: Path) -> bool:
    """The root, the home folder and the working folder, or a folder that one of the last two is in."""
    real = folder.resolve()
    return any(each.resolve().is_relative_to(real) for each in (Path.home(), Path.cwd()))


def _is_marked(folder: Path) -> bool:
    try:
        return not (folder / MARKER).is_symlink() and (folder / MARKER).read_text() == MARK
    except (OSError, ValueError):
        return False


def _lock(folder: Path) -> int:
    """Mark the folder and return the descriptor whose lock ends with this process, however that ends."""
    marker = os.open(folder / MARKER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed it just now, and the folder with it.
        if os.fstat(marker).st_nlink == 0:
            raise BlockingIOError
    except OSError:
        os.close(marker)
        raise StateFolderError(
            f"another `kaito up` uses {folder}; end it, or name another --state"
        ) from None
    if os.fstat(marker).st_size == 0:
        os.write(marker, MARK.encode())
    return marker


def _remove(folder: Path, names: Sequence[str]) -> None:
    """Remove these entries; a link is never followed, and one that stands in the place of a folder stays."""
    for name in names:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)
