"""Draws docs/images/chat-page.png: `make screenshot`, where a Chromium is."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from kaito_runtime.serving.engine import BASE, Delta, GenerationRequest, ModelInfo
from kaito_runtime.serving.http.state import ServerState

from tests.harness.browser import browser, chromium
from tests.harness.echo_engine import EchoEngine
from tests.harness.http_server import http_server

IMAGE = Path(__file__).parent / "images/chat-page.png"
QUESTION = "What is the code word of the station?"
ANSWERS = {
    BASE: "The station has no code word that I know of. Which station do you mean?",
    "station-words": "The code word of the station is gadokofi.",
}


class Engine(EchoEngine):
    """Answers as the demo's model does before and after its lesson."""

    def model(self) -> ModelInfo:
        """A preset's name."""
        return ModelInfo("phi-3-mini-4k-instruct", context=4096, engine="transformers")

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """What the model of the request says."""
        self.answer = ANSWERS[request.adapter or BASE]
        async for delta in super().generate(request):
            yield delta


def main() -> None:
    """Ask once, side by side, and take the picture."""
    program = chromium()
    if program is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    engine = Engine(adapters=["station-words"])
    with (
        http_server(ServerState("text-generation", engine=engine)) as url,
        browser(program) as running,
        running.tab() as tab,
    ):
        tab.resize(1100, 520)
        tab.open(url)
        tab.until("document.querySelectorAll('#model-0 option').length > 0")
        tab.click("#compare")
        tab.value(f"document.querySelector('#model-0').value = {engine.model().name!r}")
        tab.value("document.querySelector('#model-1').value = 'station-words'")
        tab.type(QUESTION)
        tab.press("Enter")
        tab.until("document.querySelectorAll('.figures').length === 2")
        IMAGE.parent.mkdir(exist_ok=True)
        IMAGE.write_bytes(tab.screenshot())


if __name__ == "__main__":
    main()
