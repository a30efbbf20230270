"""`GET /v1/models`: what a request can name."""

import json
from http import HTTPStatus
from typing import Any

from kaito_runtime.serving.engine import AdapterInfo, ChatEngine
from kaito_runtime.serving.http.errors import LOADING, ApiError
from kaito_runtime.serving.http.handler import Handler, unavailable
from kaito_runtime.serving.http.names import DEFAULT
from kaito_runtime.serving.http.openai.responses import Model

OWNER = "kaito"


class Models(Handler):
    """`GET /v1/models`."""

    def get(self) -> None:
        """List them, the default first."""
        engine = self.state.engine
        if engine is None:
            self.answer_error(unavailable(LOADING))
            return
        self.answer({"object": "list", "data": models_of(engine, self.state.started_at)})


class OneModel(Handler):
    """`GET /v1/models/NAME`."""

    is_known = False

    def get(self, name: str) -> None:
        """Describe it."""
        engine = self.state.engine
        if engine is None:
            self.answer_error(unavailable(LOADING))
            return
        found = {each["id"]: each for each in models_of(engine, self.state.started_at)}
        if name in found:
            self.answer(found[name])
            return
        known = ", ".join(f'"{each}"' for each in found)
        message = f"model must be one of {known}"
        self.answer_error(ApiError(HTTPStatus.NOT_FOUND, message, "model", code="model_not_found"))


def models_of(engine: ChatEngine, created: int) -> list[Model]:
    """Return everything that can be named; `created` is in seconds since 1970."""
    base = engine.model()

    def model(name: str, parent: str | None, details: dict[str, Any]) -> Model:
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": OWNER,
            "root": base.name,
            "parent": parent,
            "max_model_len": base.context,
            "details": json.loads(json.dumps(details, default=str)),
        }

    adapters = engine.adapters()
    listed = [
        model(DEFAULT, None, {"adapters": [each.name for each in adapters]}),
        model(base.name, None, {"engine": base.engine, **base.details}),
        *(
            model(
                each.name, base.name, {"strength": each.strength, **each.details, **_verified(each)}
            )
            for each in adapters
        ),
    ]
    return list({each["id"]: each for each in listed}.values())


def _verified(adapter: AdapterInfo) -> dict[str, Any]:
    return {"verified": adapter.verification.fields()} if adapter.verification else {}
