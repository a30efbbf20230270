"""What a shell and kubectl take: every command of a message, of the docs and of the examples is held against it.

Not the whole of kubectl: a new verb or kind is added here when a message first names it, and looked at then.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

NAMESPACED = {
    *("workspace", "machine", "machines.kaito.sh", "pod", "job", "deployment", "statefulset"),
    *("service", "secret", "configmap", "quota", "lease", "nodeclass"),
}
CLUSTER_SCOPED = {"node", "crd", "nodeclaim", "namespace", "compositecontroller"}
SHORT = {"svc": "service", "wk": "workspace", "cm": "configmap"}
VERBS = {
    *("annotate", "apply", "create", "delete", "describe", "edit", "explain", "get", "kustomize"),
    *("label", "logs", "port-forward", "rollout", "wait"),
}
FLAGS = {
    "annotate": {"-n", "--overwrite"},
    "apply": {"-f", "-k", "-n"},
    "create": {
        "-n",
        "--from-file",
        "--hard",
        "--docker-server",
        "--docker-username",
        "--docker-password",
    },
    "delete": {"-n", "-f"},
    "describe": {"-n", "-l"},
    "edit": {"-n"},
    "explain": set(),
    "get": {"-n", "-A", "-o", "-w", "-l", "--sort-by"},
    "kustomize": set(),
    "label": {"-n", "--overwrite"},
    "logs": {"-n", "-c", "-f", "-l", "--tail"},
    "port-forward": {"-n"},
    "rollout": {"-n"},
    "wait": {"-n", "--for", "--timeout"},
}
TAKES_VALUE = {"-n", "-f", "-k", "-o", "-l", "-c", "--for", "--timeout", "--tail", "--sort-by"}
NO_SHELL = re.compile(r"[<>]|\.\.\.|…")
"""What stands for something else, or would be a redirection."""
RETRY = 'kaito.sh/retry="$(date +%s)" --overwrite'


def commands_in(message: str) -> Iterator[str]:
    """The commands of a sentence: between backquotes, else to the end of the line or of the sentence."""
    yield from re.findall(r"`(kubectl [^`]+)`", message)
    bare = re.sub(r"`[^`]*`", "", message)
    yield from re.findall(r"\bkubectl [a-z].*?(?=; |\. |\.?$|, |\n)", bare, re.MULTILINE)


def flaw(command: str, names: frozenset[str] = frozenset()) -> str:
    """What is wrong with a command, empty for one that can be pasted; `names` are placeholders that are explained."""
    if NO_SHELL.search(re.sub("'[^']*'", "", command)):
        return "has a placeholder or an ellipsis that a shell does not take"
    try:
        words = shlex.split(command, comments=True)
    except ValueError as error:
        return f"a shell does not take it: {error}"
    words = [word for word in words[1:] if word != "&"]
    if not words or words[0] not in VERBS:
        return f"no verb that is known: {words[:1]}"
    return _flaw(words[0], words[1:], names)


def _flaw(verb: str, words: list[str], names: frozenset[str]) -> str:
    flags, arguments, rest = set(), [], iter(words)
    for word in rest:
        flag, is_assigned, _ = word.partition("=")
        if word == "-f" and verb == "logs":
            flags.add(word)  # follow
        elif word.startswith("-"):
            flags.add(flag)
            if flag in TAKES_VALUE and not is_assigned and next(rest, None) is None:
                return f"{flag} has no value"
        else:
            arguments.append(word)
    if unknown := flags - FLAGS[verb]:
        return f"kubectl {verb} has no {sorted(unknown)}"
    for word in arguments:
        for placeholder in re.findall(r"\b[A-Z][A-Z_]{2,}\b", re.sub(r"\$\(.*?\)", "", word)):
            if placeholder not in names:
                return f"{placeholder} stands for something that nobody explains"
    if verb in ("apply", "kustomize", "explain"):
        return ""
    return _flaw_of_object(verb, flags, arguments)


def _flaw_of_object(verb: str, flags: set[str], arguments: list[str]) -> str:
    if verb in ("rollout", "create"):
        arguments = arguments[1:] if verb == "rollout" else arguments
    if verb == "logs" and "-l" in flags:
        arguments = ["pod"]
    if not arguments:
        return "names no object"
    kinds = arguments[0].partition("/")[0].split(",")
    for kind in kinds:
        kind = SHORT.get(kind, kind)
        singular = kind if kind in NAMESPACED | CLUSTER_SCOPED else kind.removesuffix("s")
        if singular in CLUSTER_SCOPED:
            if flags & {"-n", "-A"}:
                return f"{kind} has no namespace"
        elif singular not in NAMESPACED:
            return f"no kind that is known: {kind}"
        elif not flags & {"-n", "-A"}:
            return f"{kind} is namespaced, and -n is missing"
    retries = [word for word in arguments if word.startswith("kaito.sh/retry=")]
    if retries and (retries != ["kaito.sh/retry=$(date +%s)"] or "--overwrite" not in flags):
        return f"a retry is written as {RETRY}"
    return ""
