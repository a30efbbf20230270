"""Asks the `kaito up` of a state folder from another terminal."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaito_laptop.core.errors import LaptopError
from kaito_laptop.core.state_folder import WAY_IN, is_taken

PATIENCE_SECONDS = 10.0
STARTING = "`kaito up` is still starting; ask again in a moment"


class NotRunningError(LaptopError):
    """No `kaito up` answers; the message says what to do."""


def ask(state: Path, question: Mapping[str, Any]) -> Any:
    """Ask the `kaito up` of a state folder; raise `NotRunningError`."""
    try:
        where = json.loads((state / WAY_IN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if is_taken(state):
            raise NotRunningError(STARTING) from None
        raise NotRunningError(
            f"no `kaito up` runs with the state folder {state}; start one, or name its --state"
        ) from None
    connection = http.client.HTTPConnection("127.0.0.1", where["port"], timeout=PATIENCE_SECONDS)
    headers = {"Authorization": f"Bearer {where['token']}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/", json.dumps(question), headers)
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise NotRunningError(f"`kaito up` does not answer ({error}); start it again") from error
    finally:
        connection.close()
    if answer.status == 503:
        raise NotRunningError(STARTING)
    if answer.status != 200:
        raise NotRunningError(f"`kaito up` answered with {answer.status}")
    return json.loads(body)
