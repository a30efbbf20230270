"""Asking a served model over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECONDS = 120.0


def ask_chat(url: str, question: str, **more: Any) -> str:
    """Return the likeliest answer of the model, without the question; raise `OSError` if there is none.

    `more` goes into the body of the request as it is.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.netloc), timeout=ANSWER_SECONDS)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", "/chat", json.dumps(chat_body(question) | more), headers)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"status {response.status}: {body.decode(errors='replace')[:200]}")
    return str(json.loads(body)["Result"])


def chat_body(question: str) -> dict[str, Any]:
    """Greedy: Kaito's default draws the answer, and a drawn one differs each time."""
    greedy = {"do_sample": False, "max_new_tokens": 64}
    return {"prompt": question, "return_full_text": False, "generate_kwargs": greedy}
