"""Every command in the docs, the README and comments of manifests is one that a shell takes as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from kaito_hooks.web.workspace import load_presets
from kaito_laptop.cli import command as kaito

from tests.harness.doc_commands import COMMANDS, PAGES, Command, blocks, explained
from tests.harness.kubectl_grammar import NO_SHELL, flaw
from tests.harness.wire import ROOT


def of(*programs: str) -> pytest.MarkDecorator:
    rows = [each for each in COMMANDS if each.text.split()[0] in programs]
    assert rows
    return pytest.mark.parametrize("command", rows, ids=lambda each: each.id)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_shell_takes_each_block(page: Path) -> None:
    for block in blocks(page):
        assert not re.search(r"<[^<]*>|\.\.\.|…", block), block
        done = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stderr}\n{block}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_word_in_capitals_is_explained_and_used(page: Path) -> None:
    used = {
        word
        for each in COMMANDS
        if each.page == page and each.text.split()[0] != "curl"
        for word in re.findall(
            r"(?<![$A-Za-z{_])[A-Z][A-Z_]{2,}\b(?!=)", each.text.partition(" #")[0]
        )
    }
    if page.name == "operations.md":  # in the blocks also as arguments of functions
        used |= {"SUBSCRIPTION_ID"} & set(re.findall(r"[A-Z_]+", "\n".join(blocks(page))))
    assert used == explained(page)


@of("kubectl")
def test_kubectl_takes_it(command: Command) -> None:
    assert flaw(command.text, explained(command.page)) == ""
    for flag, path in re.findall(r"(-f|-k) ((?:examples|manifests)/\S+)", command.text):
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == (flag == "-k"), "a folder of examples is one node each"


@of("kaito", ".venv/bin/kaito")
def test_the_kaito_command_takes_it(command: Command) -> None:
    name, *words = command.words[1:]
    vars(get_command(kaito.app))["commands"][name].make_context(name, words)


@of("az")
def test_azure_commands_name_what_they_speak_of(command: Command) -> None:
    assert not NO_SHELL.search(command.text)
    words = command.words
    assert words[1] in ("aks", "identity", "role")
    if words[1] != "role":
        assert "-g" in words, "the resource group"
        assert "-n" in words, "the name"


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a kubectl whose API server is not there."""
    config = tmp_path / "kubeconfig"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: none, "
        "clusters: [{name: none, cluster: {server: 'http://127.0.0.1:1'}}], "
        "contexts: [{name: none, context: {cluster: none, user: none}}], users: [{name: none, user: {}}]}"
    )
    for folder in ("examples", "manifests", "crds"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "training_config.yaml").write_text("training_config: {}")
    (tmp_path / "api-keys").write_text("a-key\n")
    return {**os.environ, "KUBECONFIG": str(config), "HOME": str(tmp_path)}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@of("kubectl")
def test_the_real_kubectl_gets_as_far_as_the_api_server(
    command: Command, nowhere: dict[str, str], tmp_path: Path
) -> None:
    """Verb, flags, files and folders are right: all that is missing is the cluster."""
    text = command.text.partition(" &")[0]
    named = re.sub(r"\b[A-Z]{3,}\b", lambda word: word[0].lower(), text)
    done = subprocess.run(
        ["bash", "-c", f"cd {tmp_path} && {named if 'NAME' in text else text}"],
        env=nowhere,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "refused" in done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_an_example_costs_is_said_beside_the_command_that_orders_it(page: Path) -> None:
    sizes = load_presets().instance_types
    for path in re.findall(r"kubectl apply [^`\n]*-f (examples/\S+)", "\n".join(blocks(page))):
        resource = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["resource"]
        cost = sizes[resource["instanceType"]].hourly_cost * resource.get("count", 1)
        assert f"{cost} USD an hour" in page.read_text(encoding="utf-8")
