"""The base model in memory: one explicit decision on device and number type.

Used by `tune` and `serve`. Imports torch; transformers' model classes only when a model is loaded.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kaito_contract.reasons import Reason
from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models.ranks import ALONE, Ranks
from kaito_runtime.pod import device, termination
from kaito_runtime.pod.termination import Failure

log = logging.getLogger(__name__)

# For tokenizers that bring none. Plain words: no special token has to exist.
FALLBACK_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which number type the model computes, and why."""

    device: str
    dtype: torch.dtype
    why: str
    gpus: int = 1
    """Over how many this process spreads the layers."""
    ranks: Ranks = ALONE
    """The processes, each of which has a part of every layer."""

    def __str__(self) -> str:
        where = f"{self.gpus} GPUs" if self.gpus > 1 else self.device
        if self.ranks.are_several:
            where = f"{self.device} of process {self.ranks.rank} of {self.ranks.size}"
        return f"{where}, {self.dtype} ({self.why})"


def quiet() -> None:
    """Keep the libraries' advice out of the log: the user can't act on it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "bitsandbytes", "peft", "torch.distributed", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|bitsandbytes|peft|torch)\b")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def choose_placement(torch_dtype: str, ranks: Ranks = ALONE) -> Placement:
    """Return device and number type; `auto` is the fastest type that the device computes well."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpus = max(1, torch.cuda.device_count()) if device == "cuda" and not ranks.are_several else 1
    return replace(_choose(torch_dtype, device), gpus=gpus, ranks=ranks)


def _choose(torch_dtype: str, device: str) -> Placement:
    if torch_dtype != "auto":
        return Placement(device, getattr(torch, torch_dtype), "as configured")
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Placement(device, torch.bfloat16, "this GPU computes bfloat16")
        return Placement(device, torch.float16, "this GPU has no bfloat16")
    if _cpu_has_bfloat16():
        return Placement(device, torch.bfloat16, "this processor multiplies bfloat16")
    return Placement(device, torch.float32, "this processor has no bfloat16 multiplication")


def load_tokenizer(weights: Path, *, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer beside the weights, with a padding token and a chat template."""
    from transformers import AutoTokenizer

    _require_model(weights)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            weights, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # noqa: BLE001  every tokenizer class has its own
        raise _invalid(weights, f"its tokenizer failed to load ({_first_line(error)})") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        log.warning('The tokenizer has no chat template: messages are written as "User: ..." lines')
        tokenizer.chat_template = FALLBACK_CHAT_TEMPLATE
    return tokenizer


def load_base(
    weights: Path,
    placement: Placement,
    quantization: QuantizationConfig,
    *,
    trust_remote_code: bool = False,
) -> Any:
    """Return the base model in evaluation mode, quantised if asked, on its device or over all GPUs."""
    from transformers import AutoModelForCausalLM
    from transformers.distributed.configuration_utils import DistributedConfig

    _require_model(weights)
    arguments: dict[str, Any] = {}
    if quantization.name != "none":
        arguments["quantization_config"] = _bits_and_bytes(quantization)
    try:
        with device_faults("loading the weights"):
            if placement.ranks.are_several:
                arguments["distributed_config"] = DistributedConfig(tp_size=placement.ranks.size)
            elif placement.gpus > 1:
                arguments["device_map"] = _spread(
                    weights, placement, quantization, trust_remote_code
                )
            elif quantization.name != "none":
                arguments["device_map"] = {"": placement.device}
            model: Any = AutoModelForCausalLM.from_pretrained(
                weights,
                dtype=placement.dtype,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                **arguments,
            )
            if not arguments.keys() & {"device_map", "distributed_config"}:
                model = model.to(placement.device)
    except Failure:
        raise
    except Exception as error:  # noqa: BLE001  model classes raise what they like
        raise _invalid(weights, f"its model failed to load ({_first_line(error)})") from None
    return model.eval()


def quantized_modules(model: Any) -> int:
    """Return how many linear layers hold 4-bit or 8-bit weights."""
    names = {"Linear4bit", "Linear8bitLt"}
    return sum(type(module).__name__ in names for module in model.modules())


# The last two are the libraries' handles and workspaces, which come from the GPU's memory too.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return true for the ways in which torch says that memory is exhausted."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


@contextmanager
def device_faults(when: str) -> Iterator[None]:
    """Raise OutOfMemory or DeviceLost for what is the device's fault; the rest passes through."""
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(when) from None
        if device.is_lost(error):
            raise termination.unexpected(error) from None
        raise


def out_of_memory(when: str) -> Failure:
    """Return the failure for exhausted memory, with what to change."""
    where = "the GPU's memory" if torch.cuda.is_available() else "memory"
    return Failure(
        Reason.OUT_OF_MEMORY,
        f"{where} is exhausted while {when}; use a larger instance type, qlora instead of lora, a "
        "smaller `per_device_train_batch_size` or `max_length`, or `gradient_checkpointing: true`",
    )


def _spread(
    weights: Path, placement: Placement, quantization: QuantizationConfig, trust_remote_code: bool
) -> dict[str, int]:
    from kaito_runtime.models import gpus

    found = gpus.layers_by_gpu(
        weights,
        placement.dtype,
        quantization,
        gpus.free_bytes(),
        trust_remote_code=trust_remote_code,
    )
    log.info("Spreading the model over %d GPUs; %s", placement.gpus, gpus.described(found))
    return found


def _bits_and_bytes(quantization: QuantizationConfig) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=quantization.load_in_4bit,
        load_in_8bit=quantization.load_in_8bit,
        bnb_4bit_quant_type=quantization.bnb_4bit_quant_type,
        bnb_4bit_compute_dtype=getattr(torch, quantization.bnb_4bit_compute_dtype),
        bnb_4bit_use_double_quant=quantization.bnb_4bit_use_double_quant,
        llm_int8_threshold=quantization.llm_int8_threshold,
    )


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _require_model(weights: Path) -> None:
    if not (weights / "config.json").is_file():
        raise _invalid(weights, "it has no config.json; is the path in the weights image right?")


def _invalid(weights: Path, what: str) -> Failure:
    return Failure(Reason.WEIGHTS_INVALID, f"the weights in {weights} are not usable: {what}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
