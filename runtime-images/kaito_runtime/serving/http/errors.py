"""Errors as clients read them: one JSON shape for each API.

`/v1` has OpenAI's (`error.message`, `type`, `param`, `code`); every other path Kaito's (`detail`).
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

OPENAI_PATH = "/v1"

LOADING = "The model is being loaded; try again"
ENDED = "The model has stopped and is started again; try again"
QUEUE_FULL = "Too many requests are waiting; try again"
FAILED = "Internal Server Error"


@dataclass
class ApiError(Exception):
    """A request that is answered with an error."""

    status: int
    message: str
    field: str = ""
    """Where it is, as the client writes it: `generate_kwargs.top_k`, `messages[0].content`."""
    code: str = ""
    """A word for programs; /v1 alone has it."""
    detail: Any = None
    """What `detail` is, where it is more than the message."""
    retry_seconds: int | None = None
    """When to come back."""

    def __str__(self) -> str:
        """Return the message."""
        return self.message

    def content(self, path: str) -> dict[str, Any]:
        """Return the body of the answer on a path."""
        if not is_openai(path):
            return {"detail": self.detail if self.detail is not None else self.message}
        return {
            "error": {
                "message": self.message,
                "type": _type_of(self.status),
                "param": self.field or None,
                "code": self.code or None,
            }
        }


def is_openai(path: str) -> bool:
    """Return true where OpenAI's clients ask."""
    return path == OPENAI_PATH or path.startswith(f"{OPENAI_PATH}/")


def _type_of(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "requests"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
