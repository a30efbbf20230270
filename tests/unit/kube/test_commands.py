"""Commands in messages are ones that a shell takes, whatever the names are."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from kaito_hooks.api import commands


def test_a_retry_is_one_line_that_works_any_number_of_times() -> None:
    assert (
        commands.retry("workspace", "base", "ml-team")
        == 'kubectl annotate workspace base -n ml-team kaito.sh/retry="$(date +%s)" --overwrite'
    )


@given(name=st.text(max_size=60), namespace=st.text(max_size=60))
def test_a_name_that_a_user_made_up_is_one_word_of_the_command(name: str, namespace: str) -> None:
    words = ("create", "configmap", name, "-n", namespace)
    assert shlex.split(commands.kubectl(*words)) == ["kubectl", *words]
    assert shlex.split(commands.retry("workspace", name, namespace))[:6] == [
        "kubectl",
        "annotate",
        "workspace",
        name,
        "-n",
        namespace,
    ]
