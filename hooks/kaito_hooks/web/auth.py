"""Who may call a hook: whoever can has a say in which nodes exist."""

from __future__ import annotations

import hmac

from werkzeug.exceptions import Unauthorized


def require(token: str, authorization: str) -> None:
    """Raise `Unauthorized` unless the header shows the token; an empty token asks for nothing."""
    if not token:
        return
    scheme, _, shown = authorization.partition(" ")
    # Bytes, since compare_digest refuses text that is not ASCII.
    same = hmac.compare_digest(shown.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Unauthorized("a bearer token is needed")
