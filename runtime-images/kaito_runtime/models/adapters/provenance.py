"""What an adapter was tuned on, so that the server can tell whether it has the same.

Of the base: the fields of its config.json, and one digest over the names, number types, shapes and sampled
bytes of the weights in its files. The samples are all bytes of a tensor of up to 4 KiB, else 16 blocks of 256
spread over it: another model, another training or another rounding shows, a change of a few numbers in a large
tensor may not. How the base is loaded (number type, quantisation, shards) makes no difference.

Of the tokenizer: every token with its id, the special ones, and the ids of some texts.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kaito_runtime.models.rendering import read_record

_VOLATILE = frozenset(
    ("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version")
    + ("use_cache", "quantization_config")
)
"""Fields of config.json that say how a model is loaded or who wrote the file."""
_WHOLE, _BLOCKS, _BLOCK = 4096, 16, 256
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "  def f(x):\n\treturn x ** 2  # 3.14159\n",
    "Ünïcödé, 漢字, العربية, עברית, Ελληνικά, 🙂",
    "1234567890 + 0x1F = -42e-7; a_b-c.d@e.f",
)

Read = Callable[[int, int], bytes]
"""Bytes from an offset, so many of them."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """A base and its tokenizer; empty where they are not known."""

    base_config: Mapping[str, Any] = field(default_factory=dict)
    base_digest: str = ""
    """`sha256:` and the hex digest, as the tokenizer's."""
    tokenizer_digest: str = ""

    def record(self) -> dict[str, Any]:
        """Return the keys that a record has of it."""
        return {
            "base_config": dict(self.base_config),
            "base_digest": self.base_digest,
            "tokenizer_digest": self.tokenizer_digest,
        }


def provenance_of(weights: Path, tokenizer: Any) -> Provenance:
    """Return the provenance of what is tuned on, or served: the base's folder and its tokenizer."""
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    return Provenance(_without_volatile(config), digest_of_weights(weights), digest_of(tokenizer))


def recorded_provenance(folder: Path) -> Provenance:
    """Return what an adapter's record says, empty where it does not; ValueError for one that is damaged."""
    content = read_record(folder) or {}
    config, base, tokenizer = (content.get(key) for key in Provenance().record())
    return Provenance(
        config if isinstance(config, dict) else {},
        base if isinstance(base, str) else "",
        tokenizer if isinstance(tokenizer, str) else "",
    )


def digest_of(tokenizer: Any) -> str:
    """Return the digest of a tokenizer."""
    ids = [tokenizer(text)["input_ids"] for text in _TEXTS]
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    content = json.dumps([sorted(tokenizer.get_vocab().items()), special, ids])
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def digest_of_weights(folder: Path) -> str:
    """Return the digest of the weights in a folder; empty for files of another format."""
    found = sorted(each for path in _files(folder) for each in _tensors(path))
    if not found:
        return ""
    digest = hashlib.sha256()
    for name, kind, samples in found:
        digest.update(f"{name} {kind}\n".encode())
        digest.update(samples)
    return f"sha256:{digest.hexdigest()}"


def _files(folder: Path) -> list[Path]:
    """Return the files that transformers loads."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return [folder / shard for shard in sorted(set(shards))]
    return []


def _tensors(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield each tensor's name, its type with its shape, and samples of its bytes."""
    if path.suffix == ".safetensors":
        yield from _of_safetensors(path)
        return
    try:
        tensors: dict[str, torch.Tensor] = torch.load(
            path, map_location="cpu", mmap=True, weights_only=True
        )
    except Exception:  # noqa: BLE001  old pickles raise what they like, and have no digest
        return
    for name, tensor in tensors.items():
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)

        def read(offset: int, count: int, flat: torch.Tensor = flat) -> bytes:
            return bytes(flat[offset : offset + count].tolist())

        yield name, f"{tensor.dtype} {list(tensor.shape)}", _samples(len(flat), read)


def _of_safetensors(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Read the header and some bytes: the format is documented, and its library reads whole rows."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, each in header.items():
            if name == "__metadata__":
                continue
            start, end = each["data_offsets"]

            def read(offset: int, count: int, start: int = start) -> bytes:
                file.seek(8 + length + start + offset)
                return file.read(count)

            yield name, f"{each['dtype']} {each['shape']}", _samples(end - start, read)


def _samples(length: int, read: Read) -> bytes:
    if length <= _WHOLE:
        return read(0, length)
    step = (length - _BLOCK) // (_BLOCKS - 1)
    return b"".join(read(number * step, _BLOCK) for number in range(_BLOCKS))


def _without_volatile(config: Any) -> Any:
    if not isinstance(config, dict):
        return config
    return {key: _without_volatile(value) for key, value in config.items() if key not in _VOLATILE}
