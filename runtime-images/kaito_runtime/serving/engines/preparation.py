"""What every engine does with a request before it computes: tokens, choices, grammar, deadline."""

from typing import Any

from kaito_runtime.models.rendering import Form, Rendering
from kaito_runtime.serving.engines.choices import choice_of, model_defaults
from kaito_runtime.serving.engines.prompts import PromptEncoder
from kaito_runtime.serving.engines.rows import Job
from kaito_runtime.serving.engines.structure import Structures


class Preparation:
    """Prepares requests for one model; called on several threads."""

    def __init__(self, tokenizer: Any, generation_config: Any, *, context: int, vocabulary: int):
        """Take a tokenizer, transformers' GenerationConfig, and what the model can hold and knows."""
        self.encoder = PromptEncoder(tokenizer, context=context, vocabulary=vocabulary)
        self._defaults = model_defaults(generation_config)
        self._structures = Structures(tokenizer, vocabulary, self._defaults.ends)
        self._context = context
        self._vocabulary = vocabulary

    def prepare(self, job: Job, rendering: Rendering, most: int) -> None:
        """Fill in what the request of a job comes to.

        Args:
            job: Whose ids, choice, structure and deadline are set.
            rendering: How the rows of its adapters became text.
            most: Tokens of prompt and answer that there is memory for.

        Raises RequestRefusedError, or a kind of it.
        """
        request = job.request
        job.ids = self.encoder.encode(
            request,
            is_message=rendering.form is Form.CHAT,
            chat_template=rendering.chat_template,
            most=most,
        )
        job.choice = choice_of(
            request.sampling,
            self._defaults,
            prompt=len(job.ids),
            most=min(self._context, most),
            vocabulary=self._vocabulary,
        )
        if request.sampling.structure is not None:
            job.structure = self._structures.start(request.sampling.structure)
        if request.sampling.max_seconds is not None:
            job.deadline = job.arrived + request.sampling.max_seconds
