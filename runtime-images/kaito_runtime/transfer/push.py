"""Push a tuned adapter as an image of Kaito's layout, and prove that the registry has it.

python -m kaito_runtime.transfer.push --from /mnt/results --image REF --credentials FILE
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_contract import references
from kaito_contract.reasons import Reason
from kaito_runtime.models.rendering import RECORD_FILE, read_rendering
from kaito_runtime.pod import termination
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure, Retryable
from kaito_runtime.transfer.credentials import add_credentials, find_credential
from kaito_runtime.transfer.images import pack_image, push_image
from kaito_runtime.transfer.registry import Repository
from kaito_runtime.transfer.transport import Transport, given_or_new

log = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
UPLOAD_COMPLETE = "Upload complete"
"""Kaito's own line; scripts look for it in the log."""
PAUSES_SECONDS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, *(600.0,) * 5)
"""About an hour in all: the GPU waits as long, which costs less than the training did."""


def push_files(
    files: Mapping[str, Path],
    image: str,
    credentials: Sequence[Path],
    transport: Transport | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Push files (name in the image -> file) as one layer and return image, digest and bytes."""
    try:
        reference = references.parse_output(image)
    except references.InvalidReference as error:
        raise Failure(Reason.OUTPUT_IMAGE_INVALID, f'output image "{image}" {error}') from None
    credential = find_credential(credentials, reference.registry)
    with tempfile.TemporaryDirectory() as folder, given_or_new(transport) as http:
        repository = Repository(reference, credential, http, push=True)
        packed = pack_image(files, Path(folder), labels or {})
        push_image(packed, repository, "push")
        size = packed.layer.stat().st_size
    return {"image": image, "digest": packed.digest, "bytes": size}


def push_adapter(
    folder: Path, image: str, credentials: Sequence[Path], transport: Transport | None = None
) -> dict[str, Any]:
    """Push an adapter folder as an image with the adapter below `/data`."""
    return push_files(
        adapter_files(folder), image, credentials, transport, labels=adapter_labels(folder)
    )


def push_weights_image(folder: Path, image: str, credentials: Sequence[Path]) -> dict[str, Any]:
    """Push a model folder as an image with its files below `/weights`."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {f"weights/{path.relative_to(folder).as_posix()}": path for path in names}
    return push_files(files, image, credentials)


def with_retries(
    push: Callable[[], dict[str, Any]], pauses: Sequence[float] = PAUSES_SECONDS
) -> dict[str, Any]:
    """Push again after each pause, in seconds, while the cause of a failure may pass.

    What was trained is in this pod alone: another pod would have to train again. Raises the last
    failure.
    """
    for pause in pauses:
        try:
            return push()
        except Retryable as failure:
            log.warning("%s: %s; retrying in %.0f s", failure.reason, failure.message, pause)
            time.sleep(pause)
    return push()


def adapter_files(folder: Path) -> dict[str, Path]:
    """Return the files of an adapter image: name in the image -> file."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise Failure(
                Reason.RESULTS_MISSING,
                f"{folder} has no {name}; did the training end? Its log says why not",
            )
    recorded = [RECORD_FILE] if (folder / RECORD_FILE).is_file() else []
    return {f"data/{name}": folder / name for name in (*ADAPTER_FILES, *recorded)}


def adapter_labels(folder: Path) -> dict[str, str]:
    """Return the labels of an adapter image: how its rows were rendered."""
    try:
        return read_rendering(folder).labels()
    except ValueError as error:
        raise Failure(
            Reason.RESULTS_MISSING, f"{folder} holds no complete adapter: {error}; tune again"
        ) from None


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    command = argparse.ArgumentParser(prog="kaito_runtime.transfer.push", description=__doc__)
    command.add_argument(
        "--from", dest="source", metavar="DIR", required=True, help="the folder of the adapter"
    )
    command.add_argument("--image", metavar="REF", required=True, help="where to push it")
    add_credentials(command)
    return command


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Push what the command line names."""
    flags = parser().parse_args(arguments)
    source, credentials = in_root(flags.source), [in_root(path) for path in flags.credentials]
    result = with_retries(lambda: push_adapter(source, flags.image, credentials))
    print(UPLOAD_COMPLETE, flush=True)
    return result


if __name__ == "__main__":
    termination.run(main)
