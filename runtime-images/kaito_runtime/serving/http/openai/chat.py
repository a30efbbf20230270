"""`POST /v1/chat/completions`."""

import time
from contextlib import aclosing
from dataclasses import replace

from kaito_runtime.serving.engine import Delta, FinishReason
from kaito_runtime.serving.http.answers import Answer, Sequence
from kaito_runtime.serving.http.openai.chat_request import ChatRequest, parse_chat_request
from kaito_runtime.serving.http.openai.fields import NAMES, invalid
from kaito_runtime.serving.http.openai.handler import DONE, OpenAIHandler, shown_model
from kaito_runtime.serving.http.openai.responses import (
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChoiceLogprobs,
    ChunkChoice,
    Message,
    chat_logprobs,
    usage_of,
)
from kaito_runtime.serving.http.openai.tools.answer import AnswerReader, whole_message
from kaito_runtime.serving.http.openai.tools.formats import FORMATS, ToolFormat, format_of

CALLS = "tool_calls"
"""Why an answer ended that asks for calls."""


class ChatCompletions(OpenAIHandler):
    """`POST /v1/chat/completions`."""

    async def respond(self, body: bytes) -> None:
        """Answer a body of OpenAI's schema."""
        asked = parse_chat_request(body)
        structure = "tool_choice" if asked.offer.structure else "response_format"
        self.names = {
            **NAMES,
            "prompt": "messages",
            "logprobs": "top_logprobs",
            "structure": structure,
        }
        asked = replace(
            asked, request=replace(asked.request, adapter=self.adapter(asked.body.model))
        )
        form = self._tool_format(asked)
        if asked.request.streams:
            await self._stream(asked, form)
            return
        answer = await self.collected(asked.request)
        choices = [
            _choice(asked, form, index, sequence) for index, sequence in enumerate(answer.sequences)
        ]
        whole: ChatCompletion = {
            "id": asked.request.id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": shown_model(asked.body.model),
            "choices": choices,
            "usage": usage_of([answer]),
        }
        self.answer(whole)

    def _tool_format(self, asked: ChatRequest) -> ToolFormat | None:
        if not asked.offer.tools:
            return None
        form = format_of(self.engine().chat_template(asked.request.adapter))
        if form is None:
            known = ", ".join(each.name for each in FORMATS)
            raise invalid(
                "tools",
                "must be left out: the chat template of this model writes no function calls in a "
                f"form that is known here ({known})",
                "unsupported_parameter",
            )
        return form

    async def _stream(self, asked: ChatRequest, form: ToolFormat | None) -> None:
        answer = Answer(asked.request.sampling.n)
        head: ChatCompletionChunk = {
            "id": asked.request.id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": shown_model(asked.body.model),
            "choices": [],
        }
        if asked.body.includes_usage:
            head["usage"] = None
        streams = [_Stream(asked, form, index) for index in range(asked.request.sampling.n)]
        async with aclosing(self.deltas(asked.request, answer)) as deltas:
            async for delta in deltas:
                for choice in streams[delta.index].choices(delta):
                    await self.send_event({**head, "choices": [choice]})
        if asked.body.includes_usage:
            await self.send_event({**head, "usage": usage_of([answer])})
        self.send_last_event(DONE)


class _Stream:
    """One of the n answers of a streamed chat."""

    def __init__(self, asked: ChatRequest, form: ToolFormat | None, index: int):
        self._index = index
        self._has_logprobs = asked.body.logprobs is True
        self._reader = AnswerReader(asked.offer, form) if form else None
        self._has_begun = False

    def choices(self, delta: Delta) -> list[ChunkChoice]:
        """Return what the choice gains by a delta."""
        gained: list[Message] = []
        if not self._has_begun:
            self._has_begun = True
            gained.append({"role": "assistant", "content": ""})
        if self._reader is not None:
            gained += self._reader.feed(delta.text)
            gained += self._reader.finish() if delta.finish else []
        elif delta.text:
            gained.append({"content": delta.text})
        if self._has_logprobs and delta.logprobs and not gained:
            gained.append({})  # their text is held back, or has none
        choices = [self._choice(message) for message in gained]
        if self._has_logprobs and delta.logprobs:
            choices[-1]["logprobs"] = chat_logprobs(list(delta.logprobs))
        if delta.finish:
            choices.append(self._choice({}, _finish(delta.finish, self._reader)))
        return choices

    def _choice(self, gained: Message, finish: str | None = None) -> ChunkChoice:
        return {"index": self._index, "delta": gained, "logprobs": None, "finish_reason": finish}


def _choice(
    asked: ChatRequest, form: ToolFormat | None, index: int, sequence: Sequence
) -> ChatChoice:
    reader = AnswerReader(asked.offer, form) if form else None
    message: Message = {"role": "assistant", "content": sequence.text, "refusal": None}
    if reader is not None:
        message = {
            **whole_message([*reader.feed(sequence.text), *reader.finish()]),
            "refusal": None,
        }
    logprobs: ChoiceLogprobs | None = None
    if asked.body.logprobs:
        logprobs = chat_logprobs(sequence.logprobs)
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": _finish(sequence.finish, reader),
    }


def _finish(reason: FinishReason | None, reader: AnswerReader | None) -> str:
    if reader is not None and reader.has_calls and reason is FinishReason.STOP:
        return CALLS
    return str(reason)
