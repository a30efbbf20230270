"""What `/v1` answers, as OpenAI writes it."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from kaito_runtime.serving.engine import TokenLogprob
from kaito_runtime.serving.http.answers import Answer


class PromptTokensDetails(TypedDict):
    """Which tokens of the prompt were not computed again."""

    cached_tokens: int


class Usage(TypedDict):
    """What a request cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(TypedDict):
    """A token and its log probability."""

    token: str
    logprob: float
    bytes: list[int] | None
    """UTF-8; null for a part of a character."""


class Logprob(TopLogprob):
    """A token of the answer, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(TypedDict):
    """The tokens of an answer."""

    content: list[Logprob]
    refusal: None


class FunctionCall(TypedDict):
    """A function and its arguments as JSON text."""

    name: NotRequired[str]
    """In a stream: in the first piece of a call alone."""
    arguments: str


class ToolCall(TypedDict):
    """A call that the model asks for."""

    index: NotRequired[int]
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionCall


class Message(TypedDict):
    """An answer, or what it has gained."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str | None]
    refusal: NotRequired[None]
    tool_calls: NotRequired[list[ToolCall]]


class ChatChoice(TypedDict):
    """One of n answers."""

    index: int
    message: Message
    logprobs: ChoiceLogprobs | None
    finish_reason: str


class ChatCompletion(TypedDict):
    """The answer of `/v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ChunkChoice(TypedDict):
    """What one of n answers has gained."""

    index: int
    delta: Message
    logprobs: ChoiceLogprobs | None
    finish_reason: str | None


class ChatCompletionChunk(TypedDict):
    """One event of a streamed chat."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: NotRequired[Usage | None]


class CompletionLogprobs(TypedDict):
    """The tokens of a text, in four lists of one length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """One text."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None


class Completion(TypedDict):
    """The answer of `/v1/completions`, and one event of it where it is streamed."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


class Model(TypedDict):
    """What a request can name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    """The base model."""
    parent: str | None
    """Of an adapter: the base model."""
    max_model_len: int
    """Tokens of prompt and answer together."""
    details: dict[str, Any]
    """What else is known: of an adapter its kind, digest, and what was verified."""


class ModelList(TypedDict):
    """The answer of `/v1/models`."""

    object: Literal["list"]
    data: list[Model]


class ErrorContent(TypedDict):
    """What is wrong, where, and a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(TypedDict):
    """Any answer with a status of 400 or more."""

    error: ErrorContent


def usage_of(answers: list[Answer]) -> Usage:
    """Return what some requests cost together."""
    prompt = sum(answer.prompt_tokens for answer in answers)
    generated = sum(answer.generated_tokens for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": sum(each.cached_tokens for each in answers)},
    }


def chat_logprobs(tokens: list[TokenLogprob]) -> ChoiceLogprobs:
    """Return the tokens of a chat."""
    return {
        "content": [
            {**_top(token), "top_logprobs": [_top(each) for each in token.alternatives]}
            for token in tokens
        ],
        "refusal": None,
    }


def completion_logprobs(tokens: list[TokenLogprob], offset: int) -> CompletionLogprobs:
    """Return the tokens of a text that begins at an offset, in characters."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {each.token: each.logprob for each in (*token.alternatives, token)} for token in tokens
        ],
        "text_offset": offsets,
    }


def _top(token: TokenLogprob) -> TopLogprob:
    is_part = "\ufffd" in token.token
    text_bytes = None if is_part else list(token.token.encode("utf-8", "replace"))
    return {"token": token.token, "logprob": token.logprob, "bytes": text_bytes}
