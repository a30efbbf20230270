"""What has come of one request so far: its sequences, and what they cost."""

from dataclasses import dataclass, field

from kaito_runtime.serving.engine import Delta, FinishReason, TokenLogprob


@dataclass(slots=True)
class Sequence:
    """One of the n answers."""

    parts: list[str] = field(default_factory=list)
    tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: FinishReason | None = None

    @property
    def text(self) -> str:
        """The text until now."""
        return "".join(self.parts)


class Answer:
    """The sequences of one request, filled by its deltas."""

    def __init__(self, count: int) -> None:
        self.sequences = [Sequence() for _ in range(count)]
        self.prompt_tokens = 0
        self.cached_tokens = 0

    def add(self, delta: Delta) -> None:
        """Take a delta in."""
        sequence = self.sequences[delta.index]
        sequence.parts.append(delta.text)
        sequence.tokens += delta.new_tokens
        sequence.logprobs.extend(delta.logprobs)
        sequence.finish = delta.finish or sequence.finish
        self.prompt_tokens = max(self.prompt_tokens, delta.prompt_tokens)
        self.cached_tokens = max(self.cached_tokens, delta.cached_tokens)

    @property
    def generated_tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(sequence.tokens for sequence in self.sequences)
