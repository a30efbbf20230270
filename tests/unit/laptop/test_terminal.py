"""`kaito up` in one terminal and `kaito get` in another, as processes; nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLE = (
    Path(__file__).parents[3] / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml"
).read_text(encoding="utf-8")
NAME = "workspace-tuning-phi-3"


def kaito(*words: Any, **options: Any) -> Any:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "kaito_laptop", *map(str, words)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def run(*words: Any) -> Any:
    process = kaito(*words)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def processes_of(state: Path) -> Any:
    """The processes that were started with this state folder in their environment or arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(state) in str((entry / "cwd").readlink()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Terminal:
    """A `kaito up` that runs while the test asks from elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        file = folder / "workspace.yaml"
        file.write_text(EXAMPLE, encoding="utf-8")
        self.process = kaito("up", "-f", file, "--state", self.state)
        self.output = ""

    def until(self, text: str) -> None:
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"kaito up has ended:\n{self.output}"
            self.output += line

    def ask(self, *words: Any) -> Any:
        return run(*words, "--state", self.state)

    def end(self, number: Any = signal.SIGINT) -> Any:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=30)
        self.output += output
        return self.process.returncode


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path_factory.mktemp("terminal"))
    terminal.until("OutputImageInvalid")
    yield terminal
    if terminal.process.poll() is None:
        terminal.end(signal.SIGKILL)


def test_the_table_and_the_reason_are_printed_as_they_change(terminal: Terminal) -> None:
    header, cells = [
        each
        for each in terminal.output.splitlines()
        if "Standard_NC6s_v3" in each or each.startswith("NAME")
    ][:2]
    assert header.split() == [
        "NAME",
        "INSTANCE",
        "RESOURCEREADY",
        "INFERENCEREADY",
        "WORKSPACEREADY",
        "AGE",
    ]
    assert cells.split()[:2] == [NAME, "Standard_NC6s_v3"]
    assert "ACR_REPO_HERE" in terminal.output


def test_get_prints_the_table_from_another_terminal(terminal: Terminal) -> None:
    code, output = terminal.ask("get", "wk")
    assert (code, output.split()[6]) == (0, NAME)


def test_get_prints_yaml(terminal: Terminal) -> None:
    _, output = terminal.ask("get", "workspace", NAME, "-o", "yaml")
    workspace = yaml.safe_load(output)
    assert workspace["kind"] == "Workspace"
    reasons = {each["reason"] for each in workspace["status"]["conditions"]}
    assert "OutputImageInvalid" in reasons


def test_describe_has_conditions_and_events(terminal: Terminal) -> None:
    code, output = terminal.ask("describe", "workspace", NAME)
    assert code == 0
    assert "Ready: False (OutputImageInvalid)" in output
    assert "Events:" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get", "pizza"), "the cluster has no kind 'pizza'"),
        (("get", "workspace", "other"), 'workspaces "other" not found'),
        (("logs", "other"), "other has written nothing yet"),
        (("delete", "workspace", "other"), 'workspaces.kaito.sh "other" not found'),
        (("annotate", "workspace", NAME, "retry"), "write KEY=VALUE to set 'retry'"),
    ],
)
def test_what_is_not_there_is_said(terminal: Terminal, words: Any, message: Any) -> None:
    code, output = terminal.ask(*words)
    assert code == 1
    assert message in output


def test_a_mistake_is_mended_from_another_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """The example's placeholders are replaced, the Secret that it names included."""
    file = tmp_path / "other.yaml"
    text = EXAMPLE.replace(NAME, "mended").replace("app: tuning-phi-3", "app: mended")
    text = text.replace('"Standard_NC6s_v3"', '"Standard_NC4as_T4_v3"')
    file.write_text(text, encoding="utf-8")
    assert terminal.ask("apply", "-f", file) == (0, "Workspace default/mended applied\n")
    terminal.until("mended: `tuning.output.image`")
    text = text.replace("ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE", "registry.laptop/adapters/a")
    file.write_text(text.replace("ACR_REGISTRY_SECRET_HERE", "registry-push"), encoding="utf-8")
    code, output = terminal.ask("apply", "-f", file)
    assert (code, output.splitlines()[0]) == (0, "Secret default/registry-push applied")
    terminal.until("mended: The data and the push are being checked")
    assert terminal.ask("delete", "wk", "mended") == (
        0,
        "Workspace default/mended is being deleted\n",
    )
    terminal.until("mended is gone")


def test_an_annotation_is_set_changed_and_removed(terminal: Terminal) -> None:
    words = ("annotate", "workspace", NAME)
    assert terminal.ask(*words, "kaito.sh/retry=1") == (0, f"Workspace default/{NAME} annotated\n")
    code, output = terminal.ask(*words, "kaito.sh/retry=2")
    assert code == 1
    assert "has kaito.sh/retry=1 already; add --overwrite to change it" in output
    assert terminal.ask(*words, "kaito.sh/retry=2", "--overwrite")[0] == 0
    assert "kaito.sh/retry: '2'" in terminal.ask("get", "workspace", NAME, "-o", "yaml")[1]
    assert terminal.ask(*words, "kaito.sh/retry-")[0] == 0
    assert "kaito.sh/retry" not in terminal.ask("get", "workspace", NAME, "-o", "yaml")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXAMPLE.replace("qlora", "full"), "`tuning.method` must be 'lora' or 'qlora'"),
        (EXAMPLE.replace("kaito.sh/v1alpha1", "kaito.sh/v9"), 'kind "Workspace" in'),
        (EXAMPLE.replace("phi-3-mini-128k-instruct", "tiny-demo"), "start it with this file"),
    ],
)
def test_what_cannot_be_applied_is_refused_in_a_sentence(
    terminal: Terminal, tmp_path: Path, text: Any, message: Any
) -> None:
    (tmp_path / "w.yaml").write_text(text.replace(NAME, "refused"), encoding="utf-8")
    code, output = terminal.ask("apply", "-f", tmp_path / "w.yaml")
    assert code == 1
    assert message in output
    assert "Traceback" not in output


def test_the_way_in_is_for_the_owner_alone(terminal: Terminal) -> None:
    where = terminal.state / "up.json"
    assert where.stat().st_mode & 0o077 == 0
    port = json.loads(where.read_text(encoding="utf-8"))["port"]
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/', b'{{}}')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"403" in found.stderr


def test_a_second_one_in_the_same_folder_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(EXAMPLE, encoding="utf-8")
    code, output = terminal.ask("up", "-f", tmp_path / "w.yaml")
    assert code == 1
    assert "another `kaito up` uses" in output


def test_control_c_ends_everything(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.until("OutputImageInvalid")
    # Hooks run in a folder of the state: that is how they are told from other processes.
    assert not sys.platform.startswith("linux") or len(processes_of(terminal.state)) >= 2
    assert terminal.end() == 0
    assert "Ending all processes" in terminal.output
    end = time.monotonic() + 10
    while sys.platform.startswith("linux") and processes_of(terminal.state):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not terminal.state.exists()
    assert "no `kaito up` runs" in terminal.ask("get")[1]


def test_once_ends_with_an_error_when_a_workspace_cannot_succeed(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(EXAMPLE, encoding="utf-8")
    code, output = run("up", "-f", tmp_path / "w.yaml", "--once", "--state", tmp_path / "state")
    assert code == 1
    assert f"{NAME} cannot succeed: `tuning.output.image`" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("", "has no Kubernetes object"),
        (EXAMPLE.replace("qlora", "full"), "`tuning.method` must be 'lora' or 'qlora'"),
    ],
)
def test_a_file_that_cannot_be_applied_is_refused_in_a_sentence(
    tmp_path: Path, text: Any, message: Any
) -> None:
    (tmp_path / "w.yaml").write_text(text, encoding="utf-8")
    code, output = run("up", "-f", tmp_path / "w.yaml", "--state", tmp_path / "state")
    assert code == 1
    assert message in output
    assert "Traceback" not in output
