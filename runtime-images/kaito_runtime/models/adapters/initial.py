"""What an initialisation takes out of the base's weights before the training begins.

peft does it again whenever it loads such an adapter. Here the base stays as it is, and the adapter says
what is missing: with W the base, W - s A0 B0 what was trained on and s A B the update, the change of the
base is s (A B - A0 B0), of twice the rank. The trainer knows A0 and B0; of an adapter that peft saved they
are computed from the base once more, where nothing was drawn at random.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaito_contract.reasons import Reason
from kaito_runtime.models.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from kaito_runtime.pod.termination import Failure

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""A0, [rank, inputs], and B0, [outputs, rank], by peft's names of the modules."""


def taken(init: str, weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return two matrices, [rank, inputs] and [rank, outputs], whose product was taken out.

    `weight` is [outputs, inputs], float32. The product does not depend on the signs of the vectors:

    - pissa: the largest singular components (Meng et al. 2024, arXiv:2404.02948)
    - kasa: the smallest ones (Wang et al. 2024, arXiv:2412.06071)
    - olora: `scale` times the first columns of Q and rows of R (Büyükakyüz 2024, arXiv:2406.01775)
    """
    if init == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank], (q[:, :rank] * scale).T.contiguous()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    part = slice(None, rank) if init == "pissa" else slice(len(values) - rank, None)
    return right[part], (left[:, part] * values[part]).T.contiguous()


def factors_of(tuned: Any) -> Factors:
    """Return the matrices of a fresh adapter of peft, whose product was taken out of the base.

    Raises ConfigInvalid where other modules share the weights that were changed.
    """
    embeddings = {
        id(module.weight) for module in tuned.modules() if isinstance(module, nn.Embedding)
    }
    found = {}
    for name, module in tuned.named_modules():
        if "default" not in getattr(module, "lora_A", {}):
            continue
        if id(module.get_base_layer().weight) in embeddings:
            raise Failure(
                Reason.CONFIG_INVALID,
                "training_config.yaml: `LoraConfig.init_lora_weights` must be true where "
                f'`target_modules` names "{name.rpartition(".")[2]}": it shares its weights with the '
                "embeddings, which the initialisation would change too",
            )
        each = (module.lora_A["default"].weight, module.lora_B["default"].weight)
        found[name] = (each[0].detach().clone(), each[1].detach().clone())
    return found


def make_relative_to_base(folder: Path, initial: Factors) -> None:
    """Change an adapter's two files to what is to be added to the base that nothing was taken out of."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS_FILE)
    for key, tensor in tensors.items():
        module, _, factor = key.rpartition(".lora_")
        if factor not in ("A.weight", "B.weight", "embedding_A", "embedding_B"):
            continue
        axis = 0 if "A" in factor else 1
        taken_out = initial[module][axis] if module in initial else None  # nothing of an embedding
        first = torch.zeros_like(tensor) if taken_out is None else taken_out.to(tensor)
        tensors[key] = torch.cat([tensor, first if axis == 0 else -first], dim=axis).contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(_of_twice_the_rank(json.loads(path.read_text()))))


def _of_twice_the_rank(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the same scales: alpha / r, or alpha / sqrt(r) with rslora."""
    factor = math.sqrt(2) if config["use_rslora"] else 2
    return config | {
        "init_lora_weights": True,
        "r": config["r"] * 2,
        "lora_alpha": config["lora_alpha"] * factor,
        "rank_pattern": {key: rank * 2 for key, rank in (config["rank_pattern"] or {}).items()},
        "alpha_pattern": {
            key: alpha * factor for key, alpha in (config["alpha_pattern"] or {}).items()
        },
    }
