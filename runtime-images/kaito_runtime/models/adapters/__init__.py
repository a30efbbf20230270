"""LoRA adapters: made and saved by the trainer, put onto a base by the model server."""

from kaito_runtime.models.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from kaito_runtime.models.adapters.merged import load_adapters
from kaito_runtime.models.adapters.mounted import mounted_adapters, rendering_of_adapters
from kaito_runtime.models.adapters.stacked import LoadedAdapter, StackedAdapters
from kaito_runtime.models.adapters.training import (
    add_adapter,
    linear_layers,
    save_adapter,
    trainable_parameters,
)

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "LoadedAdapter",
    "StackedAdapters",
    "add_adapter",
    "linear_layers",
    "load_adapters",
    "mounted_adapters",
    "rendering_of_adapters",
    "save_adapter",
    "trainable_parameters",
]
