"""Every kind of adapter that peft's LoraConfig makes and that is served: architecture, name, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft.tuners.lora.config import (
    BdLoraConfig,
    KasaConfig,
    LoraRuntimeConfig,
    MontecloraConfig,
    VeloraConfig,
)

PHI3 = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
PHI = ["q_proj", "dense", "fc1", "fc2"]
GPT2 = ["c_attn", "c_proj", "c_fc"]
FALCON = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]

_LINEAR: Mapping[str, Mapping[str, Any]] = {
    "lora": {},
    "all linear layers": {"target_modules": "all-linear"},
    "dropout": {"lora_dropout": 0.3},
    "rslora": {"use_rslora": True},
    "ranks by pattern": {
        "rank_pattern": {"o_proj": 2, r".*1\.mlp\.down_proj": 6},
        "alpha_pattern": {"down_proj": 3, "^model.layers.0.self_attn.qkv_proj": 9},
    },
    "ranks by pattern, rslora": {
        "rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 3}, "use_rslora": True,
    },
    "dora": {"use_dora": True},
    "dora, rslora": {"use_dora": True, "use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "not a no-op at first": {"init_lora_weights": False},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "eva": {"init_lora_weights": "eva"},
    "mica": {"init_lora_weights": "mica"},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa, dora": {"init_lora_weights": "pissa", "use_dora": True},
    "olora": {"init_lora_weights": "olora", "use_rslora": True},
    "kasa": {"kasa_config": KasaConfig()},
    "velora": {"velora_config": VeloraConfig(num_groups=4)},
    "monteclora": {"monteclora_config": MontecloraConfig()},
    "block diagonal": {
        "use_bdlora": BdLoraConfig(
            target_modules_bd_a=["o_proj"], target_modules_bd_b=["qkv_proj"], nblocks=2,
            match_strict=False,
        )
    },
    "a pattern of targets": {"target_modules": r".*\.1\..*(o_proj|down_proj)"},
    "excluded layers": {"exclude_modules": ["o_proj"]},
    "layers by number": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "one layer": {"layers_to_transform": 0},
    "offloaded": {"runtime_config": LoraRuntimeConfig(ephemeral_gpu_offload=True)},
}  # fmt: skip

_TIED: Mapping[str, Mapping[str, Any]] = {
    "output": {"target_modules": [*PHI3, "lm_head"]},
    "embedding": {"target_modules": [*PHI3, "embed_tokens"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "both, kept tied": {
        "target_modules": ["o_proj", "embed_tokens", "lm_head"], "ensure_weight_tying": True,
    },
    "dora of both": {"target_modules": ["embed_tokens", "lm_head", "o_proj"], "use_dora": True},
    "saved output": {"modules_to_save": ["lm_head"]},
    "saved embedding": {"modules_to_save": ["embed_tokens"]},
    "saved both": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "saved both, kept tied": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "saved norms": {"modules_to_save": ["input_layernorm", "norm"]},
    "a saved block": {"target_modules": ["o_proj", "down_proj"], "modules_to_save": ["mlp"]},
    "embeddings saved unchanged": {"save_embedding_layers": True},
    "trained tokens": {"trainable_token_indices": [3, 5]},
    "trained tokens of each": {
        "trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [7]},
    },
}  # fmt: skip

KINDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "phi3": {
        name: {"target_modules": PHI3} | dict(config) for name, config in {**_LINEAR, **_TIED}.items()
    },
    "phi": {
        "lora": {"target_modules": PHI},
        "lora with a bias": {"target_modules": PHI, "lora_bias": True},
        "all biases": {"target_modules": ["q_proj", "fc1"], "bias": "all"},
        "biases of its layers": {"target_modules": ["q_proj", "fc1"], "bias": "lora_only"},
        "dora": {"target_modules": ["q_proj", "fc1", "lm_head"], "use_dora": True},
        "dora, all biases": {"target_modules": ["q_proj", "fc1"], "use_dora": True, "bias": "all"},
        "saved modules": {
            "target_modules": ["q_proj"],
            "modules_to_save": ["lm_head", "input_layernorm", "fc1"],
        },
    },
    "gpt2": {
        "lora": {"target_modules": GPT2},
        "dora": {"target_modules": [*GPT2, "wte", "lm_head"], "use_dora": True},
        "pissa": {"target_modules": GPT2, "init_lora_weights": "pissa"},
        "all biases": {"target_modules": ["c_attn"], "bias": "all"},
        "saved modules": {
            "target_modules": ["c_attn"], "modules_to_save": ["c_fc", "ln_f", "wpe"],
        },
    },
    "gemma3": {
        "embedding": {"target_modules": ["q_proj", "down_proj", "embed_tokens"]},
        "dora of the embedding": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
        "saved modules": {
            "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "q_norm", "norm"],
        },
        "trained tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [3, 5]},
    },
    "falcon": {
        "lora": {"target_modules": FALCON},
        "dora": {"target_modules": FALCON, "use_dora": True},
    },
}  # fmt: skip

OF_THE_TRAINER: Mapping[str, Mapping[str, Any]] = {
    "lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 3}},
    "not a no-op at first": {"init_lora_weights": False},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "olora": {"init_lora_weights": "olora"},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa, drawn": {"init_lora_weights": "pissa_niter_2", "use_dora": True},
    "pissa, rslora": {
        "init_lora_weights": "pissa", "use_rslora": True,
        "rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 3},
    },
    "pissa beside an embedding": {
        "init_lora_weights": "pissa", "target_modules": ("o_proj", "embed_tokens"),
    },
    "tied output": {"target_modules": ("o_proj", "lm_head")},
    "tied embedding": {"target_modules": ("o_proj", "embed_tokens")},
    "saved modules": {"modules_to_save": ("lm_head", "norm")},
    "bias": {"bias": "all"},
}  # fmt: skip
"""What `LoraConfig` of training_config.yaml can ask for."""
