"""Who may ask the model server of a Workspace, and how much: its annotations, and the flags that they become."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaito_hooks.api import labels, pods
from kaito_hooks.errors import InvalidObject
from kaito_hooks.workspace import reasons

KEY = "api-keys"
"""Of the Secret: one API key a line."""
VOLUME = "api-keys"
"""Name of the volume in the pod."""
_FOLDER = "/mnt/api-keys"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SECRET_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME_LIMIT = 253
_COUNT = re.compile("[1-9][0-9]{0,8}")


_FLAGS = ("--api-keys", "--requests-per-minute", "--concurrent-requests")


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What clients of a model server need, and may take."""

    secret: str = ""
    """With the API keys; empty: everyone who reaches the Service may ask."""
    requests_per_minute: str = ""
    concurrent_requests: str = ""

    @property
    def volume(self) -> pods.Volume | None:
        """The keys in the pod of the server, and in no other container; the kubelet writes a rotated Secret there.

        Not optional: a server that finds no keys would let everyone in.
        """
        if not self.secret:
            return None
        source = {
            "secret": {
                "secretName": self.secret,
                "defaultMode": 0o440,
                "items": [{"key": KEY, "path": KEY}],
            }
        }
        return pods.Volume(VOLUME, _FOLDER, source, read_only=True)

    def command_line(self) -> list[str]:
        """Flags of the model server."""
        file = f"{_FOLDER}/{KEY}" if self.secret else ""
        values = (file, self.requests_per_minute, self.concurrent_requests)
        flags = zip(_FLAGS, values, strict=True)
        return [word for flag, value in flags if value for word in (flag, value)]


def without_access(command_line: Sequence[str]) -> list[str]:
    """A command line of the model server without these flags and their values."""
    before = ("", *command_line)
    return [
        word
        for word, previous in zip(command_line, before, strict=False)
        if word not in _FLAGS and previous not in _FLAGS
    ]


def client_access(annotations: Mapping[str, str], *, is_private: bool) -> ClientAccess:
    """Raise `InvalidObject` for a value that can't be, or where an image of the user's own serves the model.

    A value that is there and empty is refused: whoever wrote it did not mean a server without keys.
    """
    keys = (labels.API_KEYS, labels.REQUESTS_PER_MINUTE, labels.CONCURRENT_REQUESTS)
    written = {key: annotations[key] for key in keys if key in annotations}
    for key, value in written.items():
        if is_private:
            raise InvalidObject(
                reasons.ANNOTATION_INVALID,
                f"The annotation `{key}` is for the model server of this operator, and `preset.accessMode` 'private' "
                "is served by the program of your own image. Remove the annotation",
            )
        if key == labels.API_KEYS:
            _require_name(key, value)
        elif not _COUNT.fullmatch(value):
            raise _invalid(key, "a whole number from 1 to 999999999, such as '60'", value)
    return ClientAccess(*(written.get(key, "") for key in keys))


def _require_name(key: str, value: str) -> None:
    if len(value) > _NAME_LIMIT or not _SECRET_NAME.fullmatch(value):
        raise _invalid(
            key,
            f"the name of a Secret of this namespace whose key `{KEY}` holds one API key a line",
            value,
        )


def _invalid(key: str, wanted: str, value: str) -> InvalidObject:
    return InvalidObject(
        reasons.ANNOTATION_INVALID,
        f"The annotation `{key}` must be {wanted}, found '{value[:40]}'. To do without, remove it",
    )
