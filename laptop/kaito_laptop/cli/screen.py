"""What `kaito up` and `kaito demo` print: lines that stay, and one at the bottom that changes."""

from __future__ import annotations

import time

from rich.console import Console
from rich.status import Status
from rich.text import Text

QUIET_SECONDS = 5.0
"""Between two lines of progress where no terminal can rewrite one."""


class Screen:
    """Standard output; plain lines where it is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._status: Status | None = None
        self._passing = ""
        self._passed = float("-inf")

    def say(self, text: str) -> None:
        """Print a line that stays, as long as it is."""
        self._console.out(text, highlight=False)

    def pass_on(self, text: str) -> None:
        """Show a line that the next one replaces."""
        if text == self._passing:
            return
        if self._console.is_terminal:
            self._show(text)
        elif not text or time.monotonic() - self._passed < QUIET_SECONDS:
            return
        else:
            self.say(text)
        self._passing, self._passed = text, time.monotonic()

    def close(self) -> None:
        """Take the line that changes away."""
        self.pass_on("")

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if text:
            line = Text(text.strip(), no_wrap=True, overflow="ellipsis")
            self._status = self._console.status(line)
            self._status.start()
