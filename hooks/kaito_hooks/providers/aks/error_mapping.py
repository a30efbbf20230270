"""Which error an answer of AKS is: by its causes, wherever they stand, and by the status.

Never by the exception of the library, whose classes follow the request's headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kaito_hooks.kube.objects import mapping, text
from kaito_hooks.machine.errors import Delay, ProviderError, Retryable, Terminal
from kaito_hooks.providers.aks import codes, errors
from kaito_hooks.providers.aks.error_details import Cause, causes_in, ids_in
from kaito_hooks.providers.aks.responses import Response


def of_response(response: Response, now: datetime) -> ProviderError:
    """The error that an answer stands for."""
    causes = list(response.causes())
    code, message = next(iter(causes), ("", ""))
    kind = _by_status(response.status) or _innermost(causes)
    if kind is not None:
        code, message = _telling(causes, kind) or (code, message)
    else:
        kind = _rest(response.status, code, message)
    return kind(
        code or f"HTTP {response.status}", message, response.retry_after(now), response.ids()
    )


def of_pool(error: object, is_spot: bool = False) -> ProviderError | None:
    """Why a pool failed, from `properties.status.provisioningError`: whole, or wrapped in `error`."""
    whole = mapping(error).get("error") or error
    causes = list(causes_in(whole))
    if not causes:
        return None
    kind = _innermost(causes)
    if kind is None or not issubclass(kind, Terminal | Retryable) or issubclass(kind, Delay):
        kind = errors.PoolFailed
    code, message = _telling(causes, kind) or causes[0]
    if is_spot and issubclass(kind, errors.InsufficientCapacity):
        kind = errors.SpotShortage
    return kind(code, message, ids=ids_in(text(mapping(whole).get("message"))))


def known_cause(response: Response) -> bool:
    """Whether the answer names a cause that is known, whatever its status."""
    return _innermost(list(response.causes())) is not None


def says_no_pool(response: Response) -> bool:
    """A 404 of a proxy, or of a missing cluster, says nothing about the pool."""
    if response.status != 404:
        return False
    code, message = next(iter(response.causes()), ("", ""))
    if code.lower() == "resourcenotfound":
        return bool(codes.OF_A_POOL.search(message))
    sentence = f"{message} {text(response.json.get('subcode'))}"
    return code.lower() in codes.NO_POOL and not codes.OF_THE_CLUSTER.search(sentence)


def _by_status(status: int) -> type[ProviderError] | None:
    if status == 401:
        return errors.Unauthorized
    if status == 429:
        return errors.Throttled
    if status >= 500:
        return errors.Unanswered
    return None


def _innermost(causes: Sequence[Cause]) -> type[ProviderError] | None:
    """The innermost that is known is the cause; what wraps it says only that something failed.

    One that says more of the same stands for the others: a code that is repeated without its sentence.
    """
    found = [kind for code, message in causes if (kind := codes.meaning(code, message))]
    if not found:
        return None
    return next((kind for kind in found if issubclass(kind, found[-1])), found[-1])


def _telling(causes: Sequence[Cause], kind: type[ProviderError]) -> Cause | None:
    """Code and sentence that mean that, the innermost with a sentence first."""
    known = [cause for cause in reversed(causes) if codes.meaning(*cause) is kind]
    return next((cause for cause in known if cause[1]), next(iter(known), None))


def _rest(status: int, code: str, message: str) -> type[ProviderError]:
    """What only the status tells; without a code it was not ARM that answered."""
    if status != 412 and not code:
        return errors.Unreadable
    if status == 409 and (code == "Conflict" or codes.BUSY_MESSAGE.search(message)):
        return errors.Busy
    found = _BY_STATUS_ALONE.get(status)
    return found or (errors.InvalidRequest if 400 <= status < 500 else errors.Unreadable)


_BY_STATUS_ALONE: Mapping[int, type[ProviderError]] = {
    403: errors.Forbidden,
    404: errors.ConfigError,
    412: errors.EtagMismatch,
}
