"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

SECONDS = 20
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--remote-allow-origins=*", "--force-device-scale-factor=1",
)  # fmt: skip
_KEYS = {"Enter": 13, "Escape": 27, "Tab": 9}


def chromium() -> str | None:
    """The program, where it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class _Connection:
    """Commands of the protocol, and what it tells unasked."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=SECONDS)
        self._ids = itertools.count(1)

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._remember(message)

    def _remember(self, message: dict[str, Any]) -> None:
        """Take note of an event."""

    def close(self) -> None:
        self._socket.close()


class Tab(_Connection):
    """One page; `problems` is what it has complained about."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _remember(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, condition: str) -> None:
        end = time.monotonic() + SECONDS
        while not self.value(condition):
            assert time.monotonic() < end, (condition, self.problems, self.text())
            time.sleep(0.01)

    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        code = _KEYS[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def focused(self) -> str:
        return str(self.value("document.activeElement.id"))

    def prefer(self, scheme: str) -> None:
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


class Browser:
    """The program; each of its pages is without a past."""

    def __init__(self, port: int, path: str) -> None:
        self._address = f"ws://127.0.0.1:{port}"
        self._connection = _Connection(f"{self._address}{path}")

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """Yield a page, which is closed at the end."""
        context = self._connection.call("Target.createBrowserContext")["browserContextId"]
        target = self._connection.call(
            "Target.createTarget", url="about:blank", browserContextId=context
        )["targetId"]
        tab = Tab(f"{self._address}/devtools/page/{target}")
        try:
            yield tab
        finally:
            tab.close()
            self._connection.call("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Yield a browser, which is ended at the end."""
    with tempfile.TemporaryDirectory(prefix="kaito-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            running = Browser(*_address(Path(folder) / "DevToolsActivePort"))
            try:
                yield running
            finally:
                running.close()
        finally:
            process.terminate()
            process.wait(SECONDS)


def _address(file: Path) -> tuple[int, str]:
    """The port and path that the browser writes once it listens."""
    end = time.monotonic() + SECONDS
    while not file.exists() or len(lines := file.read_text().split()) < 2:
        assert time.monotonic() < end, "the browser does not listen"
        time.sleep(0.02)
    return int(lines[0]), lines[1]
