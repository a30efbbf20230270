"""Fetch weights, data or an adapter into a folder of the pod.

python -m kaito_runtime.transfer.pull adapter --image REF@sha256:... --to /mnt/adapter/NAME
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_contract import references
from kaito_contract.reasons import Reason
from kaito_runtime.pod import termination
from kaito_runtime.pod.own_files import complete_or_nothing
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure
from kaito_runtime.transfer import hub, web
from kaito_runtime.transfer.credentials import add_credentials, find_credential
from kaito_runtime.transfer.images import unpack_image
from kaito_runtime.transfer.registry import Repository
from kaito_runtime.transfer.transport import Transport, given_or_new

ADAPTER_PATH = DATA_PATH = "/data"
"""Kaito's layout: adapter images and data images hold their files here."""


def pull_image(
    image: str,
    path: str,
    to: Path,
    credentials: Sequence[Path],
    transport: Transport | None = None,
) -> dict[str, Any]:
    """Write the files below `path` of an image to a folder, every digest verified."""
    try:
        reference = references.parse(image)
    except references.InvalidReference as error:
        raise Failure(Reason.IMAGE_INVALID, f'image "{image}" {error}') from None
    credential = find_credential(credentials, reference.registry)
    started = time.monotonic()
    with complete_or_nothing(to) as partial, given_or_new(transport) as http:
        repository = Repository(reference, credential, http)
        digest = unpack_image(repository, path, partial, to.name)
        counted = _counted(partial)
    return {**counted, "seconds": _since(started), "digest": digest}


def pull_urls(urls: Sequence[str], to: Path, transport: Transport | None = None) -> dict[str, Any]:
    """Write the files of these URLs to a folder."""
    started = time.monotonic()
    with complete_or_nothing(to) as partial, given_or_new(transport) as http:
        web.download_all(urls, partial, http)
        counted = _counted(partial)
    return {**counted, "seconds": _since(started)}


def pull_repository(repository: str, revision: str, to: Path) -> dict[str, Any]:
    """Write the model of a Hugging Face repository to a folder."""
    started = time.monotonic()
    with complete_or_nothing(to) as partial:
        hub.download_model(repository, revision, partial)
        counted = _counted(partial)
    return {**counted, "seconds": _since(started)}


def parser() -> argparse.ArgumentParser:
    """Return the command line: what is pulled comes first, then where from and where to."""
    program = argparse.ArgumentParser(prog="kaito_runtime.transfer.pull", description=__doc__)
    kinds = program.add_subparsers(dest="kind", required=True)
    for kind in ("weights", "data", "adapter"):
        command = kinds.add_parser(kind)
        source = command.add_mutually_exclusive_group(required=True)
        source.add_argument("--image", metavar="REF")
        if kind == "weights":
            source.add_argument("--repository", metavar="ORG/NAME")
            command.add_argument("--revision", metavar="SHA", default="main")
            command.add_argument("--path", metavar="DIR", default="/workspace/weights")
        if kind == "data":
            source.add_argument("--url", metavar="URL", action="append")
        command.add_argument("--to", metavar="DIR", required=True)
        add_credentials(command)
    return program


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Pull what the command line names."""
    flags = parser().parse_args(arguments)
    to = in_root(flags.to)
    credentials = [in_root(path) for path in flags.credentials]
    if flags.kind == "weights" and flags.repository:
        return pull_repository(flags.repository, flags.revision, to)
    if flags.kind == "data" and flags.url:
        return pull_urls(flags.url, to)
    path = flags.path if flags.kind == "weights" else DATA_PATH
    return pull_image(flags.image, path, to, credentials)


def _counted(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {"bytes": sum(path.stat().st_size for path in files), "files": len(files)}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


if __name__ == "__main__":
    termination.run(main)
