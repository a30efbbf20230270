"""Prove, before any GPU is paid for, that the data can be trained on and the result be pushed.

python -m kaito_runtime.check --data-url URL --output-image REF --config FILE
"""

import argparse
import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_runtime.pod import termination
from kaito_runtime.pod.own_files import require_free
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure, Reason
from kaito_runtime.transfer import web
from kaito_runtime.transfer.credentials import find_credential
from kaito_runtime.transfer.pull import DATA_PATH, pull_image
from kaito_runtime.transfer.push import ADAPTER_FILES
from kaito_runtime.transfer.reference import parse_output_reference
from kaito_runtime.transfer.registry import Repository
from kaito_runtime.transfer.transport import Transport
from kaito_runtime.tuning.config import DatasetConfig, read_config
from kaito_runtime.tuning.data import Table, open_folder, open_table
from kaito_runtime.tuning.examples import find_columns

SAMPLED_ROWS = 100


def check_tables(tables: Iterator[Table], config: DatasetConfig) -> dict[str, Any]:
    """Read the first rows of each table; returns rows, columns and files as docs/pods.md says."""
    rows = 0
    columns: list[str] = []
    files: list[dict[str, Any]] = []
    for table in tables:
        seen = 0
        if table.columns:
            chosen = find_columns(table.columns, config, table.name)
            for row in itertools.islice(table.rows, SAMPLED_ROWS):
                seen += 1
                chosen.example(row, f'"{table.name}", row {seen}')
        rows += seen if table.total is None else table.total
        columns = columns or table.columns
        files.append({"name": table.name, "format": str(table.format), "bytes": table.size})
        print(f"{table.name}: {table.format}, columns {', '.join(table.columns)}", flush=True)
    if not rows:
        listed = ", ".join(file["name"] for file in files)
        raise Failure(Reason.DATA_EMPTY, f"the data has no row ({listed}); write at least one")
    return {"rows": rows, "columns": columns, "files": files}


def check_push(image: str, credentials: Sequence[Path], transport: Transport) -> None:
    """Open an upload for the output image and cancel it."""
    try:
        reference = parse_output_reference(image)
    except ValueError as error:
        raise Failure(Reason.OUTPUT_IMAGE_INVALID, str(error)) from None
    credential = find_credential(credentials, reference.registry)
    repository = Repository(reference, credential, transport, push=True)
    repository.cancel_upload(repository.begin_upload())
    print(f"{reference.registry}: push to {reference.name} is allowed", flush=True)


def check_output_path(folder: Path) -> None:
    """Write a file into the output folder and take it away again; an adapter of somebody else may not be there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".check-"):
            pass
    except OSError as error:
        raise Failure(
            Reason.OUTPUT_PATH_INVALID,
            f"the output folder {folder} can't be written ({os.strerror(error.errno or 0)}); give "
            "the volume to the pod's group, or mount it read-write",
        ) from None
    require_free(folder, ADAPTER_FILES)


def url_tables(urls: Sequence[str], transport: Transport) -> Iterator[Table]:
    """Open each URL in turn, by Range requests where its server can."""
    for url, name in zip(urls, web.file_names(urls), strict=True):
        with tempfile.TemporaryFile() as scratch:
            file, size = web.open_url(url, transport, scratch)
            yield open_table(file, name, size)


@contextlib.contextmanager
def data_tables(flags: argparse.Namespace, transport: Transport) -> Iterator[Iterator[Table]]:
    """Give the tables that the command line names."""
    if flags.data_url:
        yield url_tables(flags.data_url, transport)
    elif flags.data_image:
        credentials = [in_root(path) for path in flags.credentials]
        with tempfile.TemporaryDirectory() as folder:
            pull_image(flags.data_image, DATA_PATH, Path(folder), credentials, "data", transport)
            yield open_folder(Path(folder))
    else:
        yield open_folder(in_root(flags.data_path))


def main(
    arguments: Sequence[str] | None = None, transport: Transport | None = None
) -> Mapping[str, Any]:
    """Check configuration, output and data, in the order of what they cost."""
    parser = argparse.ArgumentParser(prog="kaito_runtime.check", description=__doc__)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data-url", action="append", default=[])
    data.add_argument("--data-image")
    data.add_argument("--data-path")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("--output-image")
    output.add_argument("--output-path")
    parser.add_argument("--config", default="/mnt/config/training_config.yaml")
    parser.add_argument("--credentials", action="append", default=[])
    flags = parser.parse_args(arguments)
    transport = transport or Transport()
    config = read_config(in_root(flags.config))
    if flags.output_image:
        check_push(flags.output_image, [in_root(path) for path in flags.credentials], transport)
    else:
        check_output_path(in_root(flags.output_path))
    with data_tables(flags, transport) as tables:
        return check_tables(tables, config.dataset)


if __name__ == "__main__":
    termination.run(main)
