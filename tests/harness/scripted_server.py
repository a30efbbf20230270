"""The program `kaito_runtime.serve` with the scripted model in place of weights: `PORT` is its argument."""

from __future__ import annotations

import asyncio
import sys

from kaito_runtime import serve
from kaito_runtime.pod import termination
from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.start import StartLedger


def load(_start: StartLedger) -> ChatEngine:
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine

    from tests.harness.scripted_model import ScriptedModel, ScriptedTokenizer

    return TransformersEngine(ScriptedModel(), ScriptedTokenizer())


def main() -> None:
    failure = asyncio.run(
        serve.serve(load, "127.0.0.1", int(sys.argv[1]), ServerState("text-generation"))
    )
    if failure:
        raise failure


if __name__ == "__main__":
    termination.run(main)
