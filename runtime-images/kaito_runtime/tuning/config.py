"""training_config.yaml as the trainer reads it, without torch."""

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kaito_contract.reasons import Reason
from kaito_contract.sections import (
    FILE,
    SECTIONS,
    WITHOUT_EFFECT,
    DatasetConfig,
    InvalidConfig,
    LoraConfig,
    ModelConfig,
    QuantizationConfig,
    TrainingArguments,
    require_known,
    sections_of,
)
from kaito_runtime.pod.termination import Failure

_Section = TypeVar("_Section")

_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "tuple_type": "a list",
    "mapping_type": "a map",
    "dict_type": "a map",
}
"""pydantic's names of a wrong type, in the words of YAML."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The whole file."""

    model: ModelConfig
    quantization: QuantizationConfig
    lora: LoraConfig
    training: TrainingArguments
    dataset: DatasetConfig
    without_effect: tuple[str, ...] = ()
    """Keys that were accepted and change nothing, as `Section.key`."""


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the flag that names the file."""
    command.add_argument(
        "--config",
        metavar="FILE",
        default=f"/mnt/config/{FILE}",
        help="Kaito's six sections below `training_config`",
    )


def read_config(path: Path) -> TrainingConfig:
    """Return the configuration of a file; ConfigInvalid says what to write instead."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise _invalid(f"{path} not found; mount the ConfigMap there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"{path} is not readable: {error}") from None
    return parse_config(text)


def parse_config(text: str) -> TrainingConfig:
    """Return the configuration of a YAML text."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise _invalid(f"is not valid YAML{where}: {getattr(error, 'problem', error)}") from None
    try:
        return _config(sections_of(document))
    except InvalidConfig as error:
        raise _invalid(str(error)) from None


def _config(sections: Mapping[str, Mapping[str, Any]]) -> TrainingConfig:
    for name, values in sections.items():
        known = {each.name for each in fields(SECTIONS[name])} if name in SECTIONS else set()
        require_known(values, known | WITHOUT_EFFECT[name], f"{name}.")
    config = TrainingConfig(
        model=_section(ModelConfig, sections),
        quantization=_section(QuantizationConfig, sections),
        lora=_section(LoraConfig, sections),
        training=_section(TrainingArguments, sections),
        dataset=_section(DatasetConfig, sections),
        without_effect=tuple(
            f"{name}.{key}"
            for name, values in sections.items()
            for key in values
            if key in WITHOUT_EFFECT[name]
        ),
    )
    quantization = replace(
        config.quantization,
        load_in_4bit=config.quantization.load_in_4bit or config.model.load_in_4bit,
        load_in_8bit=config.quantization.load_in_8bit or config.model.load_in_8bit,
    )
    if quantization.name != "none" and config.lora.reads_base:
        raise InvalidConfig(
            "`LoraConfig.init_lora_weights` must be true, false or gaussian on a quantised base, found "
            f'"{config.lora.init_lora_weights}", which computes with the weights as they were'
        )
    return replace(config, quantization=quantization)


def _section(kind: type[_Section], sections: Mapping[str, Mapping[str, Any]]) -> _Section:
    name, types = kind.__name__, get_type_hints(kind)
    values = {
        key: _as_list(types[key], value)
        for key, value in sections.get(name, {}).items()
        if key in types and value is not None
    }
    try:
        # As JSON, so that a map is a section and a list a tuple, with every other type held strictly.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except TypeError:
        raise InvalidConfig(f"`{name}` must have texts as keys") from None
    except ValidationError as error:
        raise InvalidConfig(_first_fault(name, types, error)) from None


def _as_list(kind: Any, value: object) -> object:
    """One value stands for a list of one, as in peft's `target_modules: q_proj`."""
    return [value] if get_origin(kind) is tuple and isinstance(value, str | int) else value


def _first_fault(section: str, types: Mapping[str, Any], error: ValidationError) -> str:
    faults = error.errors()
    first = faults[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    key, *below = first["loc"]
    path, wanted = f"{section}.{key}", [_wanted(first)]
    if get_origin(types[str(key)]) is UnionType:  # each of its types has a fault of its own
        wanted = [_wanted(each) for each in faults if each["loc"][0] == key]
    else:
        path += "".join(f"[{place}]" for place in below)
    found = first["input"]
    shown = f'"{found}"' if isinstance(found, str) else str(found)[:80]
    return f"`{path}` must be {' or '.join(wanted)}, found {shown}"


def _wanted(fault: ErrorDetails) -> str:
    if fault["type"] == "literal_error":
        return f"one of {fault['ctx']['expected']}"
    return _WANTED.get(fault["type"], fault["msg"])


class _Loader(yaml.SafeLoader):
    """Reads 5e-5 as a number, as YAML 1.2 does; to YAML 1.1 it is a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+"),
    list("-+.0123456789"),
)


def _invalid(what: str) -> Failure:
    return Failure(Reason.CONFIG_INVALID, f"{FILE} {what}")
