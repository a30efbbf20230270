"""The rules of `x-kubernetes-validations`, written in the Common Expression Language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

from kaito_laptop.core.cluster import Manifest

_REASONS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}


class BrokenRuleError(Exception):
    """The rule itself cannot be read; the author of the CRD must mend it."""


def causes(schema: Manifest, value: Any, old: Any, has_old: bool, field: str) -> Iterator[str]:
    """Evaluate the rules of one schema node; those with `oldSelf` need an old value."""
    values = _Values(value, old)
    for rule in schema.get("x-kubernetes-validations", ()):
        expression = rule["rule"]
        transition = "oldSelf" in expression
        if transition and not has_old and not rule.get("optionalOldSelf"):
            continue
        verdict = _evaluate(expression, values, transition)
        if verdict is True:
            continue
        message = _message(rule, values, transition)
        if isinstance(verdict, str):
            message = f"rule evaluation error: {verdict} ({message})"
        at = field + rule.get("fieldPath", "") if field else rule.get("fieldPath", "").lstrip(".")
        reason = _REASONS[rule.get("reason", "FieldValueInvalid")]
        # Objects and lists are not shown.
        is_shown = reason == "Invalid value" and not isinstance(value, dict | list)
        shown = f" {json.dumps(value, ensure_ascii=False)}:" if is_shown else ""
        yield f"{at or '<nil>'}: {reason}:{shown} {message}"


class _Values:
    """What the rules of one node see; read into CEL once for all of them."""

    def __init__(self, value: Any, old: Any) -> None:
        self._value, self._old = value, old

    @cached_property
    def value(self) -> Any:
        return _to_cel(self._value)

    @cached_property
    def old(self) -> Any:
        return None if self._old is None else _to_cel(self._old)


def _to_cel(value: Any) -> Any:
    from celpy.adapter import json_to_cel

    return json_to_cel(value)


def _message(rule: Manifest, values: _Values, transition: bool) -> str:
    if "messageExpression" in rule:
        answer = _run(rule["messageExpression"], values, transition)
        if isinstance(answer, str):
            return str(answer)
    return str(rule.get("message", f"failed rule: {rule['rule']}"))


def _evaluate(expression: str, values: _Values, transition: bool) -> bool | str:
    """Return the verdict, or why there is none."""
    answer = _run(expression, values, transition)
    return str(answer) if isinstance(answer, Exception) else bool(answer)


@cache
def _program(expression: str) -> Any:
    # Imported here: reading the grammar takes a third of a second, and not every cluster has rules.
    from celpy import Environment
    from celpy.celparser import CELParseError

    environment = Environment()
    try:
        return environment.program(environment.compile(expression), {"hasValue": _has_value})
    except CELParseError as error:
        raise BrokenRuleError(f"{expression!r} is not CEL: {error}") from error


def _has_value(optional: Any) -> Any:
    """Of `oldSelf` in a rule with `optionalOldSelf`: whether this is an update."""
    from celpy.celtypes import BoolType

    return BoolType(optional is not None)


def _run(expression: str, values: _Values, transition: bool) -> Any:
    from celpy.evaluation import CELEvalError

    program = _program(expression)
    activation = {"self": values.value, "oldSelf": values.old if transition else None}
    try:
        return program.evaluate(activation)
    except CELEvalError as error:
        return error


def type_name(value: Any) -> str:
    """Name the type of a JSON value as OpenAPI does."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
