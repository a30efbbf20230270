"""Prove, before any GPU is paid for, that the data can be trained on and the result be pushed.

python -m kaito_runtime.check --data-url URL --output-image REF --config FILE
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_contract import references
from kaito_contract.reasons import Reason
from kaito_contract.sections import DatasetConfig
from kaito_runtime.pod import termination
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure
from kaito_runtime.transfer import web
from kaito_runtime.transfer.credentials import add_credentials, find_credential
from kaito_runtime.transfer.pull import DATA_PATH, pull_image
from kaito_runtime.transfer.registry import Repository
from kaito_runtime.transfer.transport import Transport, given_or_new
from kaito_runtime.tuning.config import add_config, read_config
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
        reference = references.parse_output(image)
    except references.InvalidReference as error:
        raise Failure(Reason.OUTPUT_IMAGE_INVALID, f'output image "{image}" {error}') from None
    credential = find_credential(credentials, reference.registry)
    repository = Repository(reference, credential, transport, push=True)
    repository.cancel_upload(repository.begin_upload())
    print(f"{reference.registry}: push to {reference.repository} is allowed", flush=True)


def url_tables(urls: Sequence[str], transport: Transport) -> Iterator[Table]:
    """Open each URL in turn, by Range requests where its server can."""
    for url, name in zip(urls, web.file_names(urls), strict=True):
        with tempfile.TemporaryFile() as scratch:
            file, size = web.open_url(url, transport, scratch)
            yield open_table(file, name, size)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    command = argparse.ArgumentParser(prog="kaito_runtime.check", description=__doc__)
    data = command.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--data-url", metavar="URL", action="append", default=[], help="data; repeatable"
    )
    data.add_argument("--data-image", metavar="REF", help="an image with data below `/data`")
    command.add_argument("--output-image", metavar="REF", required=True, help="what will be pushed")
    add_config(command)
    add_credentials(command)
    return command


def main(
    arguments: Sequence[str] | None = None, transport: Transport | None = None
) -> Mapping[str, Any]:
    """Check configuration, output and data, in the order of what they cost."""
    flags = parser().parse_args(arguments)
    config = read_config(in_root(flags.config))
    credentials = [in_root(path) for path in flags.credentials]
    with tempfile.TemporaryDirectory() as folder, given_or_new(transport) as http:
        check_push(flags.output_image, credentials, http)
        if flags.data_url:
            return check_tables(url_tables(flags.data_url, http), config.dataset)
        data = Path(folder) / "data"
        pull_image(flags.data_image, DATA_PATH, data, credentials, http)
        return check_tables(open_folder(data), config.dataset)


if __name__ == "__main__":
    termination.run(main)
