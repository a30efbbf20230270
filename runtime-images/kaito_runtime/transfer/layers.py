"""Tar layers: packing a folder so that the same files give the same digest, and unpacking one path.

Unpacking trusts nothing: names can't leave the target folder, links can't point out of it, and
files are never written through a link.
"""

import gzip
import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO, cast

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
"""OCI image layer specification, "Whiteouts"."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


def pack(files: Mapping[str, Path], target: BinaryIO) -> None:
    """Write a plain tar of these files (name in the tar -> file): no time, no owner, sorted."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted({str(parent) for name in files for parent in _parents(name)}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)


def unpack(layer: io.RawIOBase, wanted: str, target: Path) -> None:
    """Apply one layer to a folder: the files below `wanted`, and what the layer removes there."""
    wanted = wanted.strip("/")
    written: set[str] = set()
    try:
        with tarfile.open(fileobj=_decompressed(layer), mode="r|") as tar:
            for entry in tar:
                _apply(tar, entry, wanted, target, written)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise Failure(
            Reason.IMAGE_INVALID,
            f"a layer of the image is not a readable tar ({error}); build it again",
        ) from None


def _decompressed(layer: io.RawIOBase) -> IO[bytes]:
    buffered = io.BufferedReader(layer, 1024 * 1024)
    magic = buffered.peek(4)[:4]
    if magic.startswith(_ZSTD):
        raise Failure(
            Reason.IMAGE_INVALID,
            "a layer of the image is compressed with zstd, which is not supported; build the "
            "image with `--output type=image,compression=gzip,force-compression=true`",
        )
    if magic.startswith(_GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=buffered))
    return buffered


def _apply(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, wanted: str, target: Path, written: set[str]
) -> None:
    name = _normalised(entry.name)
    folder, base = posixpath.split(name)
    if base == OPAQUE or base.startswith(WHITEOUT):
        removed = folder if base == OPAQUE else posixpath.join(folder, base[len(WHITEOUT) :])
        _remove(removed, wanted, target, written if base == OPAQUE else set())
        return
    inner = _below(name, wanted)
    if inner is None:
        return
    if inner == "":
        if not entry.isdir():
            raise Failure(Reason.IMAGE_INVALID, f"/{wanted} of the image is not a folder; name one")
        return
    path = target / inner
    if not path.parent.resolve().is_relative_to(target.resolve()):
        raise _unsafe(entry.name)
    written.add(inner)
    if entry.isdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        _delete(path)
    _write(tar, entry, path, wanted, target)


def _write(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path, wanted: str, target: Path
) -> None:
    if entry.issym():
        if not _resolved(path, entry.linkname).is_relative_to(target.resolve()):
            raise _unsafe(entry.name)
        path.symlink_to(entry.linkname)
    elif entry.islnk():
        os.link(_linked(entry, wanted, target), path)
    elif entry.isfile() and (content := tar.extractfile(entry)):
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, 1024 * 1024)
    # Devices and pipes are nothing that a model or data set is made of.


def _linked(entry: tarfile.TarInfo, wanted: str, target: Path) -> Path:
    """Return the file that a hard link names."""
    name = _below(_normalised(entry.linkname), wanted)
    source = target / name if name else None
    if source is None or not source.resolve().is_relative_to(target.resolve()):
        raise _unsafe(entry.name)
    if not source.is_file():
        raise Failure(Reason.IMAGE_INVALID, f'"{entry.name}" of the image links to no file')
    return source.resolve()


def _remove(removed: str, wanted: str, target: Path, keep: set[str]) -> None:
    """Delete what lower layers wrote at or below a path; `keep` is what this layer wrote."""
    inner = _below(removed, wanted)
    if inner is None:
        if removed and not f"{wanted}/".startswith(f"{removed}/"):
            return
        inner = ""  # a parent of the wanted folder is gone, and with it all that is below
    top = target / inner
    if inner and not top.parent.resolve().is_relative_to(target.resolve()):
        raise _unsafe(removed)
    if not keep:
        if inner:
            _delete(top)
        else:
            for path in target.iterdir():
                _delete(path)
        return
    for path in sorted(top.rglob("*"), reverse=True) if top.is_dir() else []:
        name = path.relative_to(target).as_posix()
        if not any(kept == name or kept.startswith(f"{name}/") for kept in keep):
            _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _below(name: str, wanted: str) -> str | None:
    if not wanted or name == wanted:
        return name if not wanted else ""
    return name[len(wanted) + 1 :] if name.startswith(f"{wanted}/") else None


def _normalised(name: str) -> str:
    name = posixpath.normpath(name.lstrip("/"))
    if name.startswith("../") or name == "..":
        raise _unsafe(name)
    return "" if name == "." else name


def _resolved(path: Path, link: str) -> Path:
    return (path.parent / link).resolve()


def _parents(name: str) -> list[Path]:
    return [parent for parent in Path(name).parents if parent != Path()]


def _unsafe(name: str) -> Failure:
    return Failure(
        Reason.IMAGE_INVALID,
        f'"{name}" of the image leads out of its folder; build the image without such links',
    )
