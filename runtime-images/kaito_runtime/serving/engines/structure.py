"""Answers that must be JSON: which tokens may come next, by the library llguidance."""

import json
import threading
from collections.abc import Iterable
from typing import Any

import torch

from kaito_runtime.serving.sampling import JsonStructure, RequestRefusedError

SCHEMA_LIMIT_CHARACTERS = 64 << 10
_ANY_OBJECT = {"type": "object"}
_SPACES = {"whitespace_pattern": r"[ \n]{0,16}"}
"""Enough to indent; without a bound a model can fill its answer with nothing."""


def schema_of(structure: JsonStructure) -> dict[str, Any]:
    """Return the schema as llguidance reads it, its options for white space included."""
    schema = _ANY_OBJECT if structure.schema is None else structure.schema
    return {**schema, "x-guidance": _SPACES}


class Structure:
    """Where one sequence is in its grammar."""

    def __init__(self, matcher: Any):
        self._matcher = matcher

    def copy(self) -> "Structure":
        """Return another sequence that is where this one is."""
        return Structure(self._matcher.deep_copy())

    def restrict(self, scores: torch.Tensor) -> None:
        """Take the tokens that may not come from [vocabulary] float32, in place."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        places = torch.arange(8, dtype=torch.uint8)
        allowed = (bits[:, None] >> places & 1).flatten()[: len(scores)].bool().to(scores.device)
        scores[: len(allowed)].masked_fill_(~allowed, float("-inf"))
        scores[len(allowed) :] = float("-inf")

    def advance(self, token: int) -> None:
        """Take the token that was chosen."""
        self._matcher.consume_token(token)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())


class Structures:
    """Makes the grammars of one model; called on several threads."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Iterable[int]):
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = sorted(ends)
        self._lock = threading.Lock()
        self._made: Any = None

    def start(self, structure: JsonStructure) -> Structure:
        """Return where every answer of a structure begins.

        Raises RequestRefusedError for a schema that can't be held, and for a tokenizer without a fast
        implementation.
        """
        text = json.dumps(schema_of(structure))
        if len(text) > SCHEMA_LIMIT_CHARACTERS:
            raise RequestRefusedError(
                f"must have a schema of at most {SCHEMA_LIMIT_CHARACTERS} characters", "structure"
            )
        from llguidance import LLMatcher

        try:
            grammar = LLMatcher.grammar_from_json_schema(text)
            matcher = LLMatcher(self._library_tokenizer(), grammar, log_level=0)
            problem = matcher.get_error()
        except ValueError as error:
            problem = str(error)
        if problem:
            first = problem.strip().partition("\n")[0][:300]
            raise RequestRefusedError(f"has a schema that is not supported: {first}", "structure")
        return Structure(matcher)

    def _library_tokenizer(self) -> Any:
        with self._lock:
            if self._made is None:
                if not getattr(self._tokenizer, "is_fast", False):
                    raise RequestRefusedError(
                        "is not possible with the tokenizer of this model", "structure"
                    )
                import llguidance.hf

                # After the imports of the server: it costs a second, and few ask for it.
                self._made = llguidance.hf.from_tokenizer(
                    self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends or None
                )
            return self._made
