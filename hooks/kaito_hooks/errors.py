"""The one family of errors that the hooks raise on purpose.

- HookError: the root
    - BadRequest: the body is no Metacontroller request; answered with 400
    - InvalidObject: the owner of an object must change it; becomes a condition
    - InvalidPresets: presets.yaml can't be used; the process does not start
    - InvalidSettings: an environment variable is missing or malformed; the process does not start
"""

from __future__ import annotations


class HookError(Exception):
    """Root of the family; `web.errors` translates what reaches the edge."""


class BadRequest(HookError):
    """The request is not what Metacontroller sends."""


class InvalidObject(HookError):
    """The object asks for something that can't be; its owner reads `reason` and `message`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class InvalidPresets(HookError):
    """presets.yaml is wrong; the message starts with the path of the value."""


class InvalidSettings(HookError):
    """A setting is missing or malformed; the message names the environment variable."""
