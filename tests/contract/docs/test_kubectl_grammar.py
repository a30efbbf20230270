"""The grammar that messages and docs are held against refuses what a shell or kubectl would."""

from __future__ import annotations

import pytest

from tests.harness.kubectl_grammar import commands_in, flaw


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "kubectl annotate workspace a -n b kaito.sh/retry=<any new value> --overwrite",
            "ellipsis",
        ),
        ("kubectl annotate workspace a -n b kaito.sh/retry=1 --overwrite", "a retry is written as"),
        ("kubectl annotate workspace a kaito.sh/x=1", "-n is missing"),
        ("kubectl create secret docker-registry a -n b --docker-server=...", "ellipsis"),
        ("kubectl logs deployment/a", "-n is missing"),
        ("kubectl get pizza a -n b", "no kind that is known: pizza"),
        ("kubectl delete node a -n b", "node has no namespace"),
        ("kubectl frobnicate pod a -n b", "no verb that is known"),
        ("kubectl get pod a -n b --colour", "has no ['--colour']"),
        ("kubectl get pod 'a -n b", "a shell does not take it"),
        ("kubectl get pod NAME -n b", "NAME stands for something"),
        ("kubectl describe", "names no object"),
        ("kubectl get pod a -n", "-n has no value"),
    ],
)
def test_a_command_that_cannot_be_pasted_is_told(command: str, words: str) -> None:
    assert words in flaw(command)


@pytest.mark.parametrize(
    "command",
    [
        'kubectl annotate workspace a -n b kaito.sh/retry="$(date +%s)" --overwrite',
        "kubectl delete node aks-gpu-0",
        "kubectl rollout status deployment/workspace-hook -n kaito-system",
        "kubectl port-forward svc/base 8080:80 -n default &",
        "kubectl get workspace,machine -A -o wide",
        "kubectl apply -k manifests/overlays/aks    # with a comment",
    ],
)
def test_a_command_that_can_be_pasted_is_fine(command: str) -> None:
    assert flaw(command) == ""


def test_a_placeholder_that_is_explained_is_fine() -> None:
    assert flaw("kubectl get pod NAME -n b", frozenset({"NAME"})) == ""


def test_commands_are_found_in_a_sentence() -> None:
    message = (
        "Look: kubectl get pod a -n b. Or `kubectl logs job/a -n b -f`, or: kubectl get pod c -n d"
    )
    assert sorted(commands_in(message)) == [
        "kubectl get pod a -n b",
        "kubectl get pod c -n d",
        "kubectl logs job/a -n b -f",
    ]
