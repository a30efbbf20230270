"""Push a tuned adapter as an image of Kaito's layout, and prove that the registry has it.

python -m kaito_runtime.transfer.push --from /mnt/results --image REF --credentials FILE
"""

import argparse
import json
import posixpath
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_runtime.models.rendering import RECORD_FILE, read_rendering
from kaito_runtime.pod import termination
from kaito_runtime.pod.own_files import complete_or_nothing
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure, Reason, Retryable
from kaito_runtime.transfer.credentials import find_credential
from kaito_runtime.transfer.images import (
    PackedImage,
    pack_image,
    platform_manifest,
    push_image,
)
from kaito_runtime.transfer.reference import parse_output_reference, parse_reference
from kaito_runtime.transfer.registry import Manifest, Repository
from kaito_runtime.transfer.transport import Transport

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
UPLOAD_COMPLETE = "Upload complete"
"""Kaito's own line; scripts look for it in the log."""
PAUSES_SECONDS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, *(600.0,) * 5)
"""About an hour in all: the GPU waits as long, which costs less than the training did."""


def push_files(
    files: Mapping[str, Path],
    image: str,
    credentials: Sequence[Path],
    annotations: Mapping[str, str] | None = None,
    base_image: str | None = None,
    transport: Transport | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Push files (name in the image -> file) as one layer and return image, digest and bytes."""
    transport = transport or Transport()
    try:
        reference = parse_output_reference(image)
        base_reference = parse_reference(base_image) if base_image else None
    except ValueError as error:
        raise Failure(Reason.OUTPUT_IMAGE_INVALID, str(error)) from None
    credential = find_credential(credentials, reference.registry)
    repository = Repository(reference, credential, transport, push=True)
    base = base_content = None
    if base_reference:
        base_credential = find_credential(credentials, base_reference.registry)
        base = Repository(base_reference, base_credential, transport)
        base_content = _base_content(base)
    with tempfile.TemporaryDirectory() as folder:
        packed = pack_image(files, Path(folder), annotations or {}, base_content, labels or {})
        push_image(packed, repository, base, "push")
        size = packed.layer.stat().st_size
    return {"image": image, "digest": packed.digest, "bytes": size}


def push_adapter(
    folder: Path,
    image: str,
    credentials: Sequence[Path],
    annotations: Mapping[str, str] | None = None,
    base_image: str | None = None,
    transport: Transport | None = None,
) -> dict[str, Any]:
    """Push an adapter folder as an image with the adapter below `/data`."""
    files, labels = adapter_files(folder), adapter_labels(folder)
    return push_files(files, image, credentials, annotations, base_image, transport, labels)


def push_weights_image(folder: Path, image: str, credentials: Sequence[Path]) -> dict[str, Any]:
    """Push a model folder as an image with its files below `/weights`."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {f"weights/{path.relative_to(folder).as_posix()}": path for path in names}
    return push_files(files, image, credentials)


def copy_adapter(folder: Path, to: Path, annotations: Mapping[str, str]) -> dict[str, Any]:
    """Copy an adapter to a mounted volume; the digest is that of the image it would have been."""
    files = adapter_files(folder)
    try:
        with complete_or_nothing(to) as unfinished:
            for name in map(posixpath.basename, files):
                shutil.copyfile(folder / name, unfinished / name)
    except PermissionError:
        raise Failure(
            Reason.OUTPUT_PATH_INVALID, f"the output folder {to} can't be written by this user"
        ) from None
    with tempfile.TemporaryDirectory() as scratch:
        packed: PackedImage = pack_image(
            files, Path(scratch), annotations, labels=adapter_labels(folder)
        )
        return {"path": str(to), "digest": packed.digest, "bytes": packed.layer.stat().st_size}


def patiently(
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
            print(f"{failure.reason}: {failure.message}; retrying in {pause:.0f} s", flush=True)
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


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Push what the command line names."""
    parser = argparse.ArgumentParser(prog="kaito_runtime.transfer.push", description=__doc__)
    parser.add_argument("--from", dest="source", required=True)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--image")
    target.add_argument("--to-path")
    parser.add_argument("--credentials", action="append", default=[])
    parser.add_argument("--annotation", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--base-image")
    flags = parser.parse_args(arguments)
    if malformed := [text for text in flags.annotation if "=" not in text]:
        parser.error(f'--annotation "{malformed[0]}" must be written as KEY=VALUE')
    annotations = dict(text.split("=", 1) for text in flags.annotation)
    source = in_root(flags.source)
    if flags.to_path:
        result = copy_adapter(source, in_root(flags.to_path), annotations)
    else:
        credentials = [in_root(path) for path in flags.credentials]
        result = patiently(
            lambda: push_adapter(source, flags.image, credentials, annotations, flags.base_image)
        )
    print(UPLOAD_COMPLETE, flush=True)
    return result


def _base_content(base: Repository) -> tuple[Manifest, dict[str, Any]]:
    manifest = platform_manifest(base)
    try:
        config = json.loads(base.read_blob(manifest.content["config"]["digest"]))
        config["rootfs"]["diff_ids"], manifest.content["layers"]
    except (KeyError, TypeError, ValueError):
        raise Failure(
            Reason.OUTPUT_IMAGE_INVALID,
            f"base image {base.reference} is not an image that a layer can be put on; name another",
        ) from None
    return manifest, config


if __name__ == "__main__":
    termination.run(main)
