"""What is proven of an adapter that is loaded, as the server reports it.

How it is proven is in adapters/verify.py and in the engines. No torch in here.
"""

from dataclasses import dataclass
from enum import StrEnum


class Match(StrEnum):
    """What the comparison of a record with what is loaded came to."""

    MATCHES = "matches"
    NOT_RECORDED = "not recorded"
    OWN = "the adapter's own"
    """Of the template: the tokenizer's is another one, and the adapter is asked in its own."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What is proven of an adapter that is loaded."""

    adapter: str
    base: Match
    tokenizer: Match
    template: Match
    largest_difference: float
    """Of the logits of one prompt, with the adapter at strength 1 and without."""
    changes_nothing: bool
    """All that the adapter would add is zero."""

    def fields(self) -> dict[str, str | float | bool]:
        """Return it for JSON, or as the labels and the value of a metric."""
        return {
            "base": str(self.base),
            "tokenizer": str(self.tokenizer),
            "template": str(self.template),
            "largest_difference": round(self.largest_difference, 6),
            "changes_nothing": self.changes_nothing,
        }

    def __str__(self) -> str:
        """Return it as one line, for the log and a header."""
        effect = "changes nothing" if self.changes_nothing else f"{self.largest_difference:.3g}"
        return (
            f"base {self.base}, tokenizer {self.tokenizer}, template {self.template}, "
            f"largest difference {effect}"
        )
