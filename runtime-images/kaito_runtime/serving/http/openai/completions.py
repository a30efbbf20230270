"""`POST /v1/completions`."""

import time
from contextlib import aclosing
from dataclasses import replace

from kaito_runtime.serving.engine import Delta
from kaito_runtime.serving.http.answers import Answer
from kaito_runtime.serving.http.openai.completion_request import (
    CompletionRequest,
    parse_completion_request,
)
from kaito_runtime.serving.http.openai.handler import DONE, OpenAIHandler, shown_model
from kaito_runtime.serving.http.openai.responses import (
    Completion,
    CompletionChoice,
    completion_logprobs,
    usage_of,
)


class Completions(OpenAIHandler):
    """`POST /v1/completions`."""

    async def respond(self, body: bytes) -> None:
        """Answer a body of OpenAI's schema."""
        asked = parse_completion_request(body)
        adapter = self.adapter(asked.body.model)
        requests = [replace(request, adapter=adapter) for request in asked.requests]
        asked = replace(asked, requests=requests)
        answers = [Answer(request.sampling.n) for request in requests]
        if asked.body.stream:
            await self._stream(asked, answers)
            return
        async with aclosing(self.merged_deltas(requests, answers)) as deltas:
            async for _ in deltas:
                pass
        choices = [
            _choice(asked, answers, prompt, index)
            for prompt, answer in enumerate(answers)
            for index in range(len(answer.sequences))
        ]
        self.answer({**_head(asked), "choices": choices, "usage": usage_of(answers)})

    async def _stream(self, asked: CompletionRequest, answers: list[Answer]) -> None:
        head, with_usage = _head(asked), asked.body.includes_usage
        usage = {"usage": None} if with_usage else {}
        offsets: dict[tuple[int, int], int] = {}
        async with aclosing(self.merged_deltas(asked.requests, answers)) as deltas:
            async for prompt, delta in deltas:
                shown = "" if (prompt, delta.index) in offsets else asked.shown[prompt]
                offset = offsets.get((prompt, delta.index), len(shown))
                offsets[prompt, delta.index] = offset + len(delta.text)
                choice = _gained(asked, prompt, delta, shown, offset)
                await self.send_event({**head, "choices": [choice], **usage})
        if with_usage:
            await self.send_event({**head, "choices": [], "usage": usage_of(answers)})
        self.send_last_event(DONE)


def _head(asked: CompletionRequest) -> Completion:
    return {
        "id": asked.requests[0].id,
        "object": "text_completion",
        "created": int(time.time()),
        "model": shown_model(asked.body.model),
        "choices": [],
    }


def _choice(
    asked: CompletionRequest, answers: list[Answer], prompt: int, index: int
) -> CompletionChoice:
    sequence, shown = answers[prompt].sequences[index], asked.shown[prompt]
    is_wanted = asked.body.logprobs is not None
    return {
        "index": prompt * asked.requests[0].sampling.n + index,
        "text": shown + sequence.text,
        "logprobs": completion_logprobs(sequence.logprobs, len(shown)) if is_wanted else None,
        "finish_reason": sequence.finish,
    }


def _gained(
    asked: CompletionRequest, prompt: int, delta: Delta, shown: str, offset: int
) -> CompletionChoice:
    is_wanted = asked.body.logprobs is not None
    return {
        "index": prompt * asked.requests[0].sampling.n + delta.index,
        "text": shown + delta.text,
        "logprobs": completion_logprobs(list(delta.logprobs), offset) if is_wanted else None,
        "finish_reason": delta.finish,
    }
