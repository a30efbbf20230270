"""Weights from the Hugging Face hub (or a mirror named by `HF_ENDPOINT`)."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure, Retryable

# Copies of the same weights in formats that are not loaded here.
_IGNORED = [
    "*.gguf",
    "*.onnx",
    "*.onnx_data",
    "*.h5",
    "*.msgpack",
    "*.tflite",
    "*.ot",
    "original/*",
    "onnx/*",
    "coreml/*",
    "*.md",
    ".gitattributes",
]
_PICKLED = ["*.bin", "*.pt", "*.pth"]


def download_model(repository: str, revision: str, folder: Path) -> None:
    """Write a repository's files at one revision to a folder."""
    # Each file is fetched once: a cache of chunks, 10 GB by default, would only fill the scratch folder.
    os.environ.setdefault("HF_XET_CHUNK_CACHE_SIZE_BYTES", "0")
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.model_info(repository, revision=revision)
        names = [sibling.rfilename for sibling in info.siblings or []]
        has_safetensors = any(name.endswith(".safetensors") for name in names)
        huggingface_hub.snapshot_download(
            repository,
            revision=info.sha or revision,
            local_dir=folder,
            ignore_patterns=[*_IGNORED, *(_PICKLED if has_safetensors else [])],
        )
    except errors.GatedRepoError:
        raise _unreachable(repository, _access_remedy()) from None
    except errors.RepositoryNotFoundError:
        raise _unreachable(
            repository, f"the hub has no such repository, or it is private: {_token_state()}"
        ) from None
    except errors.RevisionNotFoundError:
        raise _unreachable(
            repository, f'it has no revision "{revision}"; write one it has'
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        cause = f"the hub answered {status or 'an error'}; {_token_state()}"
        kind = Retryable if status == 429 or status >= 500 else Failure
        raise _unreachable(repository, cause, kind) from None
    except errors.HFValidationError:
        raise _unreachable(repository, 'write the repository as "organisation/name"') from None
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise  # the disk, not the network
        raise _unreachable(repository, f"{_endpoint()} is not reachable", Retryable) from None
    except Exception as error:
        # The hub's client raises the errors of whichever HTTP library it was built with.
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise
        raise _unreachable(repository, f"{_endpoint()} is not reachable", Retryable) from None
    # What the client notes about its downloads; a repository may have a .cache of its own.
    shutil.rmtree(folder / ".cache" / "huggingface", ignore_errors=True)
    with suppress(OSError):
        (folder / ".cache").rmdir()


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _token_state() -> str:
    if os.environ.get("HF_TOKEN"):
        return "is the token in HF_TOKEN allowed to read it?"
    return "HF_TOKEN is not set, so only public repositories can be read"


def _access_remedy() -> str:
    return f"access must be granted first: accept its licence on the hub; {_token_state()}"


def _unreachable(repository: str, cause: str, kind: type[Failure] = Failure) -> Failure:
    return kind(Reason.WEIGHTS_UNREACHABLE, f'weights repository "{repository}": {cause}')
