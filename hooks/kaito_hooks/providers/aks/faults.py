"""Which trouble an answer of AKS is: by its causes, wherever they stand, and by the status.

Never by the exception of the library, whose classes follow the request's headers (aks.md 0.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kaito_hooks.kube.objects import mapping, text
from kaito_hooks.machine import denied, errors
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.providers.aks import codes
from kaito_hooks.providers.aks.causes import Cause, causes_in, ids_in
from kaito_hooks.providers.aks.replies import Reply


def of_reply(reply: Reply, now: datetime) -> ProviderError:
    """The trouble that an answer stands for."""
    causes = list(reply.causes())
    code, message = next(iter(causes), ("", ""))
    kind = _by_status(reply.status) or _innermost(causes)
    if kind is not None:
        code, message = _telling(causes, kind) or (code, message)
    else:
        kind = _rest(reply.status, code, message)
    return kind(code or f"HTTP {reply.status}", message, reply.retry_after(now), reply.ids())


def of_pool(error: object, is_spot: bool = False) -> ProviderError | None:
    """Why a pool failed, from `properties.status.provisioningError`: whole, or wrapped in `error`."""
    whole = mapping(error).get("error") or error
    causes = list(causes_in(whole))
    if not causes:
        return None
    kind = _innermost(causes)
    if kind is None or not issubclass(kind, denied.Denied):
        kind = denied.PoolFailed
    code, message = _telling(causes, kind) or causes[0]
    if is_spot and issubclass(kind, denied.InsufficientCapacity):
        kind = denied.SpotShortage
    return kind(code, message, ids=ids_in(text(mapping(whole).get("message"))))


def known_cause(reply: Reply) -> bool:
    """Whether the answer names a cause that is known, whatever its status."""
    return _innermost(list(reply.causes())) is not None


def says_no_pool(reply: Reply) -> bool:
    """A 404 of a proxy, or of a missing cluster, says nothing about the pool."""
    if reply.status != 404:
        return False
    code, message = next(iter(reply.causes()), ("", ""))
    if code.lower() == "resourcenotfound":
        return bool(codes.OF_A_POOL.search(message))
    said = f"{message} {text(reply.json.get('subcode'))}"
    return code.lower() in codes.NO_POOL and not codes.OF_THE_CLUSTER.search(said)


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
    if status == 412:
        return errors.EtagMismatch
    if not code:
        return errors.Unreadable
    if status == 403:
        return denied.Forbidden
    if status == 409 and (code == "Conflict" or codes.BUSY_WORDS.search(message)):
        return errors.Busy
    if status == 404:
        return errors.ConfigError
    if 400 <= status < 500:
        return denied.InvalidRequest
    return errors.Unreadable
