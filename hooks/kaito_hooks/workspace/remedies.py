"""What the owner of a Workspace can do, as a command: to run again what failed, or to bring what is waited for."""

from __future__ import annotations

from kaito_contract.reasons import Reason
from kaito_hooks.api import commands
from kaito_hooks.kube.objects import get_in, name, namespace, text
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.children.jobs import Outcome
from kaito_hooks.workspace.observed import Observed, strings


def retry(observed: Observed) -> str:
    """What the owner types to have it tried again."""
    return commands.retry("workspace", name(observed.parent), namespace(observed.parent))


def after_fixing(observed: Observed, message: str) -> str:
    """What is wrong, for a failure that a person has to fix."""
    return f"{_sentence(message)} After fixing that, run it again: {retry(observed)}"


def while_retrying(observed: Observed, outcome: Outcome) -> str:
    """What is wrong, for an outcome that the Job tries again by itself."""
    if outcome.reason == Reason.CREDENTIALS_MISSING:
        return _missing_secret(observed, outcome.message)
    if outcome.reason not in reasons.PROGRAM_FAILED:
        return outcome.message
    again = retry(observed)
    return f"{_sentence(outcome.message)} Retrying, with growing pauses; to retry at once: {again}"


def _missing_secret(observed: Observed, message: str) -> str:
    """Which Secret is missing; the program knows only where it should be mounted."""
    parent, section = observed.parent, get_in(observed.parent, "tuning")
    pulled = [
        s for s in strings(get_in(section, "input", "imagePullSecrets")) if f"/{s}/" in message
    ]
    field = "tuning.input.imagePullSecrets" if pulled else "tuning.output.imagePushSecret"
    secret = pulled[0] if pulled else text(get_in(section, "output", "imagePushSecret"))
    image = text(get_in(section, *(("input", "image") if pulled else ("output", "image"))))
    create = commands.kubectl(
        *("create", "secret", "docker-registry", secret, "-n", namespace(parent)),
        f"--docker-server={image.partition('/')[0]}",
        "--docker-username=USER",
        "--docker-password=PASSWORD",
    )
    return (
        f"The Secret '{secret}' that `{field}` names is not found in this namespace, or has no key "
        f"`.dockerconfigjson`. Waiting for it, with growing pauses; to create it: {create}"
    )


def _sentence(message: str) -> str:
    return message.rstrip(". ") + "."
