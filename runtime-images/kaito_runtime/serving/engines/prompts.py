"""From a prompt to token ids, within the bounds that protect the others."""

from collections.abc import Sequence
from typing import Any

from kaito_runtime.models.tokenization import question_of_messages, question_of_text
from kaito_runtime.serving.engine import GenerationRequest, Prompt, PromptTooLongError
from kaito_runtime.serving.sampling import RequestRefusedError

MESSAGES_LIMIT = 512
"""Each is rendered with all before it, to find where the assistant begins to write."""
_SHORTEST_TOKEN_TEXT = 16


class PromptEncoder:
    """Encodes prompts for one model; called on several threads."""

    def __init__(self, tokenizer: Any, *, context: int, vocabulary: int):
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self.context = context
        longest = max(map(len, tokenizer.get_vocab()), default=_SHORTEST_TOKEN_TEXT)
        self._most_characters = context * max(longest, _SHORTEST_TOKEN_TEXT)
        """More text than the context can hold, whatever it says."""

    def encode(
        self, request: GenerationRequest, *, is_message: bool, chat_template: str, most: int
    ) -> list[int]:
        """Return the token ids of a prompt, as the trainer would have made them of the same question.

        Args:
            request: Its prompt, and how many tokens are to follow.
            is_message: What `text` is where the prompt does not say it.
            chat_template: For messages.
            most: Tokens of prompt and answer that there is memory for.

        Raises:
            RequestRefusedError: for a prompt that the template or the tokenizer refuses.
            PromptTooLongError: where no token could follow.
        """
        prompt = request.prompt
        field = "messages" if prompt.messages else "prompt"
        limit = min(self.context, most)
        self._require_bounded(prompt, field)
        try:
            ids = self._ids(prompt, is_message=is_message, chat_template=chat_template)
        except RequestRefusedError:
            raise
        except BaseException as error:  # noqa: BLE001  templates and tokenizers raise what they like
            first = str(error).partition("\n")[0][:200]
            raise RequestRefusedError(f"is not valid: {first}", field) from None
        if not ids:
            raise RequestRefusedError("has no token; write some text", field)
        if max(ids) >= self._vocabulary or min(ids) < 0:
            raise RequestRefusedError("has a token that the model does not know", field)
        asked = request.sampling.max_tokens or 1
        room = max(1, limit - asked)
        if prompt.truncate and len(ids) > room:
            ids = self._truncated(prompt, ids, room, is_message, chat_template)
        if len(ids) >= limit:
            raise PromptTooLongError(
                f"has {len(ids)} tokens, and the model's context is {limit}; write a shorter one",
                field,
            )
        return ids

    def _ids(self, prompt: Prompt, *, is_message: bool, chat_template: str) -> list[int]:
        if prompt.ids:
            return list(prompt.ids)
        if prompt.messages:
            return self._of_messages(prompt, prompt.messages, chat_template)
        text = prompt.text or ""
        if prompt.truncate:
            text = text[-self._most_characters :]
        if _is_message(prompt, is_message):
            return self._of_messages(prompt, [{"role": "user", "content": text}], chat_template)
        return question_of_text(self._tokenizer, text)

    def _of_messages(
        self, prompt: Prompt, messages: Sequence[dict[str, Any]], chat_template: str
    ) -> list[int]:
        more: dict[str, Any] = dict(prompt.template_arguments)
        if prompt.tools:
            more["tools"] = [dict(tool) for tool in prompt.tools]
        if chat_template:
            more["chat_template"] = chat_template
        return question_of_messages(self._tokenizer, messages, **more)

    def _truncated(
        self, prompt: Prompt, ids: list[int], room: int, is_message: bool, chat_template: str
    ) -> list[int]:
        """Drop the beginning of the user's words; what a template writes around them stays."""
        if prompt.messages or prompt.ids or not _is_message(prompt, is_message):
            return ids[-room:]
        words = self._tokenizer(prompt.text or "", add_special_tokens=False)["input_ids"]
        while len(ids) > room and words:
            words = words[max(1, len(ids) - room) :]
            kept = self._tokenizer.decode(words, skip_special_tokens=True)
            ids = self._of_messages(prompt, [{"role": "user", "content": kept}], chat_template)
        return ids[-room:]

    def _require_bounded(self, prompt: Prompt, field: str) -> None:
        """Refuse at once what is too long however it is encoded: encoding it would take seconds."""
        if len(prompt.messages) > MESSAGES_LIMIT:
            raise RequestRefusedError(f"must be at most {MESSAGES_LIMIT}", field)
        characters = len(prompt.text or "") + sum(
            len(str(message.get("content") or "")) for message in prompt.messages
        )
        if characters > self._most_characters and not prompt.truncate:
            raise PromptTooLongError(
                f"has {characters} characters, more than the model's context of {self.context} "
                "tokens can hold; write a shorter one",
                field,
            )


def _is_message(prompt: Prompt, default: bool) -> bool:
    return default if prompt.is_message is None else prompt.is_message
