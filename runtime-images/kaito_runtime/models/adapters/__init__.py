"""LoRA adapters: made and saved by the trainer, put onto a base by the model server."""

from kaito_runtime.models.adapters.files import CONFIG_FILE, WEIGHTS_FILE, digest_of_files
from kaito_runtime.models.adapters.mounted import mounted_adapters
from kaito_runtime.models.adapters.provenance import Provenance, provenance_of
from kaito_runtime.models.adapters.stacked import LoadedAdapter, StackedAdapters
from kaito_runtime.models.adapters.training import (
    add_adapter,
    linear_layers,
    save_adapter,
    trainable_parameters,
)
from kaito_runtime.models.adapters.verify import Verifier

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "LoadedAdapter",
    "Provenance",
    "StackedAdapters",
    "Verifier",
    "add_adapter",
    "digest_of_files",
    "linear_layers",
    "mounted_adapters",
    "provenance_of",
    "save_adapter",
    "trainable_parameters",
]
