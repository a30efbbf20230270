"""`POST /chat`: Kaito's route; the answer whole, or as server-sent events."""

from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from typing import ClassVar

from kaito_runtime.serving.engine import PromptTooLongError
from kaito_runtime.serving.http.answers import Answer
from kaito_runtime.serving.http.chat_schema import NAMES, Chat, parse_chat
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.generation import GenerationHandler
from kaito_runtime.serving.http.names import adapter_of

# As transformers' `clean_up_tokenization`, in its order.
_SPACES = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class ChatHandler(GenerationHandler):
    """`POST /chat`.

    With `"stream": true` each event is `{"delta": text}`, with `index` where several sequences are
    asked for, and the last `{"Result": ...}`, which is the body of an answer that is not streamed.
    """

    names = NAMES
    refusals: ClassVar = {PromptTooLongError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "")}

    async def respond(self, body: bytes) -> None:
        """Answer a body of Kaito's schema."""
        chat = parse_chat(body, self.state.pipeline)
        adapter = adapter_of(self.engine(), chat.request.adapter, "adapter")
        chat = replace(chat, request=replace(chat.request, adapter=adapter))
        if chat.request.streams:
            await self._stream(chat)
        else:
            self.answer({"Result": result_of(chat, await self.collected(chat.request))})

    def send_failure(self, error: ApiError) -> None:
        """End a stream with the error."""
        self.send_last_event(error.content(self.request.path))

    async def _stream(self, chat: Chat) -> None:
        answer = Answer(chat.request.sampling.n)
        is_one = len(answer.sequences) == 1
        async with aclosing(self.deltas(chat.request, answer)) as deltas:
            async for delta in deltas:
                if delta.text:
                    place = {} if is_one else {"index": delta.index}
                    await self.send_event({"delta": delta.text, **place})
        await self.send_event({"Result": result_of(chat, answer)})


def result_of(chat: Chat, answer: Answer) -> str:
    """Return Kaito's `Result`: all sequences, one after another."""
    texts = (sequence.text for sequence in answer.sequences)
    text = "".join(chat.shown + (_cleaned(text) if chat.cleans_up else text) for text in texts)
    # Kaito's form: Python's text of the last message, not JSON.
    return str({"role": "assistant", "content": text}) if chat.is_conversation else text


def _cleaned(text: str) -> str:
    for written, clean in _SPACES:
        text = text.replace(written, clean)
    return text
