"""Calls in a list, which a schema has held the model to (`tool_choice: required`)."""

from kaito_runtime.serving.http.openai.tools.calls import CallReader, Event


class ListReader:
    """Reads `[{"name": ..., "arguments": {...}}, ...]`, and nothing else."""

    def __init__(self) -> None:
        self._reader: CallReader | None = None

    def feed(self, piece: str) -> list[Event]:
        """Return what a piece completes."""
        events: list[Event] = []
        while piece:
            if self._reader is None:
                piece = piece.lstrip("[,] \t\r\n")
                if not piece.startswith("{"):
                    break
                self._reader = CallReader()
            events += self._reader.feed(piece)
            if not self._reader.is_done:
                break
            piece, self._reader = self._reader.rest, None
        return events

    def finish(self) -> list[Event]:
        """Return nothing: what is held back is no call."""
        return []
