"""What a request is told of an error of the model."""

import logging

from kaito_runtime.models import load as memory
from kaito_runtime.pod import device, termination
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import GenerationFailedError, PromptTooLongError

log = logging.getLogger(__name__)


def answer_to(error: BaseException) -> Exception:
    """Return it, without the error's traceback, which holds tensors."""
    if memory.is_out_of_memory(error):
        return PromptTooLongError("must be shorter: there is not enough memory for it", "prompt")
    log.error("The model failed to answer", exc_info=error)
    return GenerationFailedError("the model failed to answer")


def raise_if_lost(error: BaseException) -> None:
    """Raise Failure (DeviceLost, PeerLost) where nothing more is computed."""
    if isinstance(error, Failure):
        raise error
    if device.is_lost(error):
        raise termination.unexpected(error) from None
