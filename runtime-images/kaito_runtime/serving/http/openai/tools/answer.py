"""The message of an answer in which the model may call functions: whole, or piece by piece."""

from collections.abc import Callable, Iterable

from kaito_runtime.serving.http.openai.responses import Message, ToolCall
from kaito_runtime.serving.http.openai.tools.calls import Arguments, CallStart, Content, Event
from kaito_runtime.serving.http.openai.tools.choice import Offer
from kaito_runtime.serving.http.openai.tools.formats import ToolFormat
from kaito_runtime.serving.http.openai.tools.listed import ListReader
from kaito_runtime.serving.http.openai.tools.reader import ToolReader


class AnswerReader:
    """Turns the text of one answer into what its message gains."""

    def __init__(self, offer: Offer, form: ToolFormat):
        self._offer = offer
        self._new_id: Callable[[], str] = form.new_id
        self._calls = 0
        self._reader = ListReader() if offer.is_required else ToolReader(form, offer.names)

    @property
    def has_calls(self) -> bool:
        """Whether the answer asks for a call."""
        return self._calls > 0

    def feed(self, text: str) -> list[Message]:
        """Return what a piece completes."""
        if not self._offer.forced_name:
            return self._gained(self._reader.feed(text))
        begins = [] if self._calls else [CallStart(self._offer.forced_name)]
        return self._gained([*begins, *([Arguments(text)] if text else [])])

    def finish(self) -> list[Message]:
        """Return what was held back, once the answer has ended."""
        return [] if self._offer.forced_name else self._gained(self._reader.finish())

    def _gained(self, events: Iterable[Event]) -> list[Message]:
        gained: list[Message] = []
        for event in events:
            if isinstance(event, Content):
                gained.append({"content": event.text})
            elif isinstance(event, CallStart):
                self._calls += 1
                if self._is_wanted():
                    gained.append({"tool_calls": [self._started(event.name)]})
            elif self._is_wanted():
                more: ToolCall = {
                    "index": self._calls - 1,
                    "function": {"arguments": event.text},
                }
                gained.append({"tool_calls": [more]})
        return gained

    def _started(self, name: str) -> ToolCall:
        return {
            "index": self._calls - 1,
            "id": self._new_id(),
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }

    def _is_wanted(self) -> bool:
        return self._offer.is_parallel or self._calls == 1 or bool(self._offer.forced_name)


def whole_message(gained: Iterable[Message]) -> Message:
    """Return the message that pieces make together."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for piece in gained:
        texts.append(piece.get("content") or "")
        for more in piece.get("tool_calls", []):
            if "id" in more:
                calls.append(
                    {"id": more["id"], "type": "function", "function": {**more["function"]}}
                )
            else:
                calls[-1]["function"]["arguments"] += more["function"]["arguments"]
    text = "".join(texts)
    message: Message = {"role": "assistant", "content": text or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    return message
