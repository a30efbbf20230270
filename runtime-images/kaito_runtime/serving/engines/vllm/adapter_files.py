"""The files of an adapter as vLLM reads them: a copy where the strength is not 1, a refusal where it would not
serve what was trained."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_runtime.models.adapters import CONFIG_FILE, WEIGHTS_FILE
from kaito_runtime.models.rendering import Rendering, read_rendering
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import AdapterInfo

_UNCHANGED: tuple[Any, ...] = (None, False, [], {}, "none")
_REFUSED = {
    "use_dora": "it is DoRA, whose magnitudes vLLM does not apply",
    "bias": "it has trained the biases, which vLLM does not apply",
    "lora_bias": "its matrices have biases, which vLLM does not apply",
    "modules_to_save": "it holds whole modules (`modules_to_save`), which vLLM does not apply",
    "trainable_token_indices": "it has trained single tokens, which vLLM does not apply",
    "target_parameters": "it changes parameters that no linear layer holds",
    "layer_replication": "it repeats layers of the base",
    "alora_invocation_tokens": "it acts on the tokens after its invocation alone (activated LoRA)",
    "arrow_config": "it routes every token between other adapters (Arrow)",
    "use_qalora": "it pools its inputs by groups of a GPTQ base (QALoRA)",
    "use_bdlora": "its matrices are block-diagonal, in a form of its own",
    "megatron_config": "its layers are Megatron's",
}
_INITS_OF_THE_ADAPTER_ALONE = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_ELSEWHERE = "serve it with the transformers engine"


@dataclass(frozen=True, slots=True)
class VllmAdapter:
    """An adapter that vLLM can load."""

    info: AdapterInfo
    folder: Path
    rendering: Rendering
    rank: int


@dataclass
class AdapterReader:
    """Reads and checks adapters for one base."""

    weights: Path
    trust_remote_code: bool = False
    _copies: "tempfile.TemporaryDirectory[str]" = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="adapters-")
    )

    def read(self, name: str, folder: Path, strength: float) -> VllmAdapter:
        """Return an adapter; raises AdapterInvalid, with the reason, for one that is not served exactly."""
        config = _config_of(name, folder)
        _require_plain(name, config)
        tensors = _tensors_of(name, folder)
        self._require_complete(name, folder, tensors)
        try:
            rendering = read_rendering(folder)
        except ValueError as error:
            raise unusable(name, str(error)) from None
        rank = _rank(config)
        if strength != 1.0:
            folder = self._scaled(folder, tensors, strength)
        return VllmAdapter(AdapterInfo(name, strength, {"rank": rank}), folder, rendering, rank)

    def close(self) -> None:
        """Remove the copies."""
        self._copies.cleanup()

    def _scaled(self, folder: Path, tensors: Mapping[str, Any], strength: float) -> Path:
        """Return a copy whose second matrices are multiplied by the strength."""
        from safetensors.torch import save_file

        copy = Path(tempfile.mkdtemp(dir=self._copies.name))
        shutil.copyfile(folder / CONFIG_FILE, copy / CONFIG_FILE)
        scaled = {
            key: (tensor.float() * strength).to(tensor.dtype) if "lora_B" in key else tensor
            for key, tensor in tensors.items()
        }
        save_file(scaled, copy / WEIGHTS_FILE)
        return copy

    def _require_complete(self, name: str, folder: Path, tensors: Mapping[str, Any]) -> None:
        """Compare the tensors with those that peft makes for this base: vLLM passes over what fits nothing."""
        wanted = self._wanted(name, folder)
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        if missing := sorted(wanted.keys() - found):
            raise unusable(
                name, f'its {WEIGHTS_FILE} lacks {len(missing)} tensors, such as "{missing[0]}"'
            )
        if extra := sorted(found.keys() - wanted):
            raise unusable(
                name,
                f"its {WEIGHTS_FILE} has {len(extra)} tensors that vLLM would not apply, such as "
                f'"{extra[0]}"; was it tuned on another base model?',
            )
        for key, shape in sorted(found.items()):
            if shape != wanted[key]:
                raise unusable(
                    name,
                    f'its tensor "{key}" has the shape {list(shape)}, and this base model needs '
                    f"{list(wanted[key])}; was it tuned on another?",
                )
        if other := sorted(key for key in found if not _is_of_linear_layer(key)):
            raise unusable(
                name, f'it changes the embedding or the head ("{other[0]}"); {_ELSEWHERE}'
            )

    def _wanted(self, name: str, folder: Path) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of an adapter of this configuration, by their names."""
        import peft
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(
            self.weights, trust_remote_code=self.trust_remote_code, local_files_only=True
        )
        try:
            with torch.device("meta"):
                base: Any = AutoModelForCausalLM.from_config(
                    config, trust_remote_code=self.trust_remote_code
                )
                lora: Any = peft.PeftConfig.from_pretrained(str(folder))
                lora.init_lora_weights, lora.base_model_name_or_path = False, None
                tuned = peft.get_peft_model(base, lora)
        except Exception as error:  # noqa: BLE001  peft raises what it likes
            first = " ".join(str(error).split())[:300]
            raise unusable(
                name, f"it does not fit this base model ({first}); was it tuned on another?"
            ) from None
        state = peft.get_peft_model_state_dict(tuned, save_embedding_layers=False)
        return {key: tuple(tensor.shape) for key, tensor in state.items()}


def largest_rank(adapters: Mapping[str, tuple[Path, float]]) -> int:
    """Return the largest rank of some adapters, 0 for none; raises AdapterInvalid."""
    return max((_rank(_config_of(name, path)) for name, (path, _) in adapters.items()), default=0)


def _rank(config: Mapping[str, Any]) -> int:
    return max(map(int, [config["r"], *(config.get("rank_pattern") or {}).values()]))


def _config_of(name: str, folder: Path) -> dict[str, Any]:
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise unusable(name, f"it has no {file}; its image must hold it below /data")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        kind, _ = config["peft_type"], _rank(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise unusable(name, f"its {CONFIG_FILE} is not the configuration of an adapter") from None
    if kind != "LORA":
        raise unusable(name, f'its kind is "{kind}"; only LORA can be served')
    return config


def _require_plain(name: str, config: Mapping[str, Any]) -> None:
    for key, why in _REFUSED.items():
        if config.get(key) not in _UNCHANGED:
            raise unusable(name, f"{why}; {_ELSEWHERE}")
    init = config.get("init_lora_weights")
    if init not in _INITS_OF_THE_ADAPTER_ALONE:
        raise unusable(
            name,
            f"`init_lora_weights` is {json.dumps(init)}, which changed the base's weights; save it "
            "relative to the base, with peft's `path_initial_model_for_weight_conversion`, or "
            f"{_ELSEWHERE}",
        )


def _tensors_of(name: str, folder: Path) -> Mapping[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise unusable(
            name, f"its {WEIGHTS_FILE} is damaged ({error}); pull or push it again"
        ) from None
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise unusable(name, f'its tensor "{key}" has values that are not finite')
    return tensors


def _is_of_linear_layer(key: str) -> bool:
    module = key.partition(".lora_")[0]
    return ".lora_embedding_" not in key and not module.endswith(("lm_head", "embed_out"))


def unusable(name: str, what: str) -> Failure:
    """Return the failure of an adapter."""
    return Failure(Reason.ADAPTER_INVALID, f'adapter "{name}" can\'t be served: {what}')
