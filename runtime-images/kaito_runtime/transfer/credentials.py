"""Docker config files (`{"auths": {...}}`): user and password per registry."""

import argparse
import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.references import DOCKER_HUB
from kaito_runtime.pod.termination import Failure, Retryable

_DOCKER_HUB_KEYS = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io"})


@dataclass(frozen=True)
class Credential:
    """A user and a password; neither is ever printed."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    source: str
    """The file that it comes from, for messages."""
    identity_token: str = field(default="", repr=False)
    """A refresh token that stands in for the password (Azure's `az acr login` writes one)."""

    def basic(self) -> str:
        """Return the value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def add_credentials(command: argparse.ArgumentParser) -> None:
    """Add the flag that names docker config files."""
    command.add_argument(
        "--credentials",
        metavar="FILE",
        action="append",
        default=[],
        help="a docker config file; repeatable, the first with an entry for the registry is used",
    )


def find_credential(files: Iterable[Path], registry: str) -> Credential | None:
    """Return the entry for a registry from the first file that has one."""
    for path in files:
        entries = _read_auths(path)
        if entry := entries.get(_normalised(registry)):
            return _credential(entry, registry, path)
    return None


def _read_auths(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        # Secrets may be applied after the Workspace: the next pod sees what has come since.
        raise Retryable(
            Reason.CREDENTIALS_MISSING,
            f"the credentials file {path} is not found: the Secret is not found, or has no key "
            f"{path.name}",
        ) from None
    except OSError as error:
        raise _invalid(path, f"is not readable: {error.strerror}") from None
    except ValueError:
        raise _invalid(path, "is not valid JSON") from None
    auths = content.get("auths") if isinstance(content, dict) else None
    if not isinstance(auths, dict) or not all(isinstance(e, dict) for e in auths.values()):
        has_store = isinstance(content, dict) and (
            "credsStore" in content or "credHelpers" in content
        )
        if has_store:
            raise _invalid(path, "keeps its passwords in a credential store of another machine")
        raise _invalid(path, 'has no map "auths"')
    return {_normalised(key): entry for key, entry in auths.items()}


def _credential(entry: dict[str, Any], registry: str, path: Path) -> Credential | None:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    token = str(entry.get("identitytoken") or "")
    if encoded := entry.get("auth"):
        try:
            decoded = base64.b64decode(str(encoded), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _invalid(path, f'has an "auth" for {registry} that is not base64') from None
        user, colon, password = decoded.partition(":")
        if not colon:
            raise _invalid(path, f'has an "auth" for {registry} that is not "user:password"')
    if not user and not token:
        raise _invalid(path, f'has an entry for {registry} without "auth" or "username"')
    return Credential(user, password, str(path), token)


def _normalised(registry: str) -> str:
    host = registry.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    return DOCKER_HUB if host in _DOCKER_HUB_KEYS else host


def _invalid(path: Path, what: str) -> Failure:
    return Failure(
        Reason.CREDENTIALS_INVALID,
        f"the credentials file {path} {what}; make the Secret again as a docker-registry Secret, with "
        "the registry's name, a user and a password",
    )
