"""Which errors mean that the device (the GPU, or this process's hold on it) is lost.

Told by the errors' names and words, so that a program needs no torch to ask. The words are those of
cudaGetErrorString, cuBLAS, cuDNN, NVML and the kernel's Xid messages. What the device survives is not
here: exhausted memory, a wrong argument, a kernel that the build of torch does not have.
"""

import re
from collections.abc import Iterator

# After each of these CUDA answers every further call of the process with the same error.
_LOST = re.compile(
    r"""
    device-side\ assert
    | illegal\ memory\ access | illegal\ instruction | illegal\ address
    | misaligned\ address | invalid\ address\ space | invalid\ program\ counter
    | hardware\ stack\ error | unspecified\ launch\ (failure|error)
    | launch\ timed\ out | context\ is\ destroyed | contained\ an?\ .*\ error
    | CUDA(\ runtime)?\ error:\ unknown\ error | HIP\ error:\ unknown\ error
    | uncorrectable | double[- ]bit\ ecc | nvlink\ error
    | gpu\ is\ lost | fallen\ off\ the\ bus | \bxid\b
    | devices?(\(s\))?\ (is|are|is/are)\ busy\ or\ unavailable | no\ cuda-capable\ device
    | CUBLAS_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)
    | CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)
    | CUSOLVER_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# An error of the accelerator that is not known to be harmless is taken for a loss: starting again
# costs a minute, and staying costs every request.
_SURVIVED = re.compile(
    r"out of memory|invalid argument|invalid value|not supported|no kernel image"
    r"|invalid device function|ALLOC_FAILED|invalid resource handle",
    re.IGNORECASE,
)


def is_lost(error: BaseException) -> bool:
    """Return true if an error, or one that led to it, says that the device is lost."""
    return any(_reports_loss(each) for each in _chain(error))


def message(error: BaseException) -> str:
    """Return the first line of what the device reported, with the kind of the error."""
    reported = next((each for each in _chain(error) if _reports_loss(each)), error)
    first = str(reported).strip().partition("\n")[0][:300]
    return f"{type(reported).__name__}: {first}"


def _reports_loss(error: BaseException) -> bool:
    text = str(error)
    if type(error).__name__ == "AcceleratorError":
        return bool(_LOST.search(text)) or not _SURVIVED.search(text)
    # ValueError and its like quote users' text; only the runtime's own kinds speak for a device.
    is_of_runtime = isinstance(error, RuntimeError | SystemError) or "NVML" in type(error).__name__
    return is_of_runtime and bool(_LOST.search(text))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
