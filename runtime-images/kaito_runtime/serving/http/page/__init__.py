"""Pages for people: one file each, without a build step, that loads nothing from elsewhere."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """A file, and the headers that let a browser run nothing but what is in it."""

    content: bytes
    headers: dict[str, str]


@cache
def page(name: str) -> Page:
    """Return a file of this package."""
    content = resources.files(__name__).joinpath(name).read_bytes()
    return Page(
        content,
        {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _policy(content.decode()),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )


def _policy(html: str) -> str:
    """Return a Content-Security-Policy that names the page's own script and style by their digests."""
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        digests[kind].append(f"'sha256-{digest}'")
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(digests['script'])}",
            f"style-src {' '.join(digests['style'])}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
