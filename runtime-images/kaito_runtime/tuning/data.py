"""Rows of training data from parquet, JSON lines, JSON and CSV files, without torch.

The format is told by content first and by name second: a URL may have no extension, and a web page
with an error is no data whatever it is called. `check` reads the first rows, `tune` all of them.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure

HEAD_BYTES = 4096
Row = dict[str, Any]


class Format(StrEnum):
    """What a data file can be."""

    PARQUET = "parquet"
    JSON_LINES = "jsonl"
    JSON = "json"
    CSV = "csv"


_BY_EXTENSION = {
    "parquet": Format.PARQUET, "jsonl": Format.JSON_LINES, "ndjson": Format.JSON_LINES,
    "json": Format.JSON, "csv": Format.CSV,
}  # fmt: skip

_REFUSED_MAGIC = (
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it first"),
    (b"ARROW1", "it is an Arrow file; save it as parquet"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file; use the download URL"),
)


@dataclass
class Table:
    """One data file: what it is, its columns, and its rows."""

    name: str
    format: Format
    size: int
    """Bytes."""
    columns: list[str]
    rows: Iterator[Row] = field(repr=False)
    total: int | None = None
    """The number of rows where the file says it."""


def open_table(file: BinaryIO, name: str, size: int) -> Table:
    """Return the table in an open, seekable file."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind = sniff(head, name)
    if kind is Format.PARQUET:
        return _open_parquet(file, name, size)
    readers = {
        Format.JSON_LINES: _json_lines, Format.JSON: _json_array, Format.CSV: _csv,
    }  # fmt: skip
    rows = _to_the_end(
        io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), readers[kind], name
    )
    first = next(rows, None)
    if first is None:
        return Table(name, kind, size, [], iter(()))
    return Table(name, kind, size, list(first), _chain(first, rows))


def sniff(head: bytes, name: str) -> Format:
    """Return a file's format from its first bytes, and from its name where they leave it open."""
    if not head.strip():
        raise Failure(Reason.DATA_EMPTY, f'"{name}" is empty; write at least one row')
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    for magic, remedy in _REFUSED_MAGIC:
        if head.startswith(magic):
            raise _unreadable(name, remedy)
    by_name = _BY_EXTENSION.get(name.rpartition(".")[2].lower())
    if by_name is Format.PARQUET:
        raise _unreadable(name, "its name says parquet and its content does not (no PAR1)")
    return _sniff_text(head.removeprefix(b"\xef\xbb\xbf").lstrip(), name, by_name)


def _sniff_text(text: bytes, name: str, by_name: Format | None) -> Format:
    if text[:9].lower() == b"<!doctype" or (text[:1] == b"<" and b"<html" in text.lower()):
        raise _unreadable(
            name,
            "it is a web page, not data; use the URL of the file itself (on a hub: "
            '"resolve" instead of "blob")',
        )
    if text.startswith(b"["):
        return Format.JSON
    if text.startswith(b"{"):
        return Format.JSON_LINES
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if error.start < len(text) - 4:  # a character cut at the end of the head is no fault
            raise _unreadable(name, "it is neither parquet nor UTF-8 text") from None
    if by_name is Format.CSV or (by_name is None and b"," in text.partition(b"\n")[0]):
        return Format.CSV
    raise _unreadable(name, "it is neither parquet, JSON lines, JSON nor CSV")


def data_files(folder: Path) -> list[Path]:
    """Return the files of a data folder in the order of their names, hidden ones left out."""
    if not folder.is_dir():
        raise Failure(Reason.DATA_UNREACHABLE, f"the data folder {folder} is not found")
    visible = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    # A readme or licence may lie beside the data; alone it is taken at its word and refused.
    tables = [path for path in visible if path.suffix[1:].lower() in _BY_EXTENSION]
    return tables or visible


def open_folder(folder: Path) -> Iterator[Table]:
    """Open each data file of a folder in turn."""
    files = data_files(folder)
    if not files:
        raise Failure(Reason.DATA_EMPTY, f"the data folder {folder} has no file")
    for path in files:
        with path.open("rb") as file:
            yield open_table(file, path.name, path.stat().st_size)


def _open_parquet(file: BinaryIO, name: str, size: int) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(name, f"its parquet footer is damaged ({_short(error)})") from None

    def rows() -> Iterator[Row]:
        try:
            # Group by group: asked for all, pyarrow fetches the whole file ahead.
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(batch_size=256, row_groups=[group]):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(name, f"its parquet content is damaged ({_short(error)})") from None

    columns = list(parquet.schema_arrow.names)
    return Table(name, Format.PARQUET, size, columns, rows(), parquet.metadata.num_rows)


def _json_lines(source: TextIO, name: str) -> Iterator[Row]:
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError:
            raise _unreadable(name, f"line {number} is not UTF-8") from None
        except ValueError as error:
            raise _unreadable(
                name, f"line {number} is not valid JSON ({error}); write one object per line"
            ) from None
        yield _object(row, name, f"line {number}")


def _json_array(source: TextIO, name: str) -> Iterator[Row]:
    """Yield the objects of one JSON array, parsed one by one as the text arrives."""
    decoder = json.JSONDecoder()
    text, is_open, number = "", False, 0
    try:
        for block in iter(lambda: source.read(1 << 20), ""):
            text += block
            while True:
                text = text.lstrip()
                if not is_open:
                    text, is_open = text[1:].lstrip(), True
                if text[:1] == ",":
                    text = text[1:].lstrip()
                if text[:1] in ("", "]"):
                    break
                try:
                    row, end = decoder.raw_decode(text)
                except ValueError:
                    break  # the object goes on in the next block
                number += 1
                yield _object(row, name, f"element {number}")
                text = text[end:]
    except UnicodeDecodeError:
        raise _unreadable(name, "it is not UTF-8") from None
    if text[:1] != "]":
        raise _unreadable(name, f"element {number + 1} of its JSON array is cut or no JSON")


def _csv(source: TextIO, name: str) -> Iterator[Row]:
    csv.field_size_limit(1 << 27)
    try:
        reader = csv.DictReader(source, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise _unreadable(
                    name,
                    f"line {reader.line_num} has another number of columns than the first line "
                    f"({len(reader.fieldnames or [])}); quote texts that hold commas",
                )
            yield row
    except UnicodeDecodeError:
        raise _unreadable(name, "it is not UTF-8") from None
    except csv.Error as error:
        raise _unreadable(name, f"it is not valid CSV ({error})") from None


def _to_the_end(
    text: TextIO, read: Callable[[TextIO, str], Iterator[Row]], name: str
) -> Iterator[Row]:
    with text:
        yield from read(text, name)


def _object(row: object, name: str, where: str) -> Row:
    if not isinstance(row, dict):
        raise _unreadable(name, f'{where} is not an object; write {{"messages": [...]}}')
    return row


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


def _unreadable(name: str, what: str) -> Failure:
    return Failure(Reason.DATA_UNREADABLE, f'"{name}" can\'t be read: {what}')


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]


def names(columns: Sequence[str]) -> str:
    """Return column names for a message: "a", "b"."""
    return ", ".join(f'"{column}"' for column in columns) or "none"
