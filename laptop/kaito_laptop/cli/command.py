"""The command `kaito`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kaito_laptop.cli.control_api import NotRunningError, ask
from kaito_laptop.core.objects import labels, name
from kaito_laptop.core.state_folder import StateFolderError, is_taken
from kaito_laptop.kubelet.folders import log_file

WORKSPACE_LABEL = "kaito.sh/workspace"


class UsageError(Exception):
    """The command line asks for something that is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    flags = parser().parse_args(arguments)
    try:
        return int(flags.run(flags))
    except (NotRunningError, UsageError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1


def default_state() -> Path:
    """Return the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "kaito"


def parser() -> argparse.ArgumentParser:
    """The command line; docs/laptop.md tells of each flag."""
    whole = argparse.ArgumentParser(prog="kaito", description="Kaito on this computer.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="run a cluster on this computer and apply manifests to it")
    up.add_argument("-f", "--filename", type=Path, action="append", required=True)
    up.add_argument("--question", default="", help="ask this once /chat answers")
    up.add_argument("--once", action="store_true", help="end after the answer, or when it fails")
    up.add_argument("--keep", action="store_true", help="keep logs and pushed images afterwards")
    up.set_defaults(run=_up)

    demo = commands.add_parser("demo", help="teach a small model a fact, serve it and ask it")
    demo.set_defaults(run=_demo)

    get = commands.add_parser("get", help="print objects of the running cluster")
    get.add_argument("kind", nargs="?", default="workspaces")
    get.add_argument("name", nargs="?")
    get.add_argument("-o", "--output", choices=("wide", "yaml"), default="")
    get.add_argument("-n", "--namespace", help="of one namespace only")
    get.set_defaults(run=_get)

    describe = commands.add_parser("describe", help="print an object with its events")
    _add_object(describe)
    describe.set_defaults(run=_describe)

    logs = commands.add_parser("logs", help="print what a pod, or the pods of a Workspace, wrote")
    logs.add_argument("name", metavar="POD|WORKSPACE")
    logs.add_argument("-c", "--container")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--namespace", default="default")
    logs.set_defaults(run=_logs)

    apply = commands.add_parser("apply", help="apply manifests to the running cluster")
    apply.add_argument("-f", "--filename", type=Path, action="append", required=True)
    apply.set_defaults(run=_apply)

    delete = commands.add_parser("delete", help="delete an object of the running cluster")
    _add_object(delete)
    delete.set_defaults(run=_delete)

    annotate = commands.add_parser("annotate", help="annotate an object of the running cluster")
    _add_object(annotate)
    annotate.add_argument("annotations", nargs="+", metavar="KEY=VALUE|KEY-")
    annotate.add_argument("--overwrite", action="store_true", help="change what is there already")
    annotate.set_defaults(run=_annotate)

    for command in (up, demo, get, describe, logs, apply, delete, annotate):
        command.add_argument("--state", type=Path, default=default_state(), help="state folder")
    return whole


def _add_object(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind")
    command.add_argument("name")
    command.add_argument("-n", "--namespace")


def _up(flags: argparse.Namespace) -> int:
    # Imported here: the other commands need none of it and answer at once.
    from kaito_laptop.cli.up import Options, Up

    options = Options(
        flags.filename, flags.state.absolute(), flags.question, flags.once, flags.keep
    )
    return _run(Up(options).run)


def _demo(flags: argparse.Namespace) -> int:
    from kaito_laptop.cli.demo import run_demo

    return _run(lambda: run_demo(flags.state.absolute()))


def _run(run: Callable[[], int]) -> int:
    """Run a cluster, and tell in a sentence why it cannot start."""
    from kaito_laptop.cli.demo_model import DemoModelError
    from kaito_laptop.cli.hook_processes import HookStartError
    from kaito_laptop.cli.manifests import UnreadableFileError
    from kaito_laptop.cli.up import UpError

    try:
        return run()
    except (
        DemoModelError,
        HookStartError,
        StateFolderError,
        UnreadableFileError,
        UpError,
    ) as error:
        raise UsageError(str(error)) from error


def _get(flags: argparse.Namespace) -> int:
    answer = _ask(flags, wide=flags.output == "wide")
    if flags.output == "yaml":
        print(yaml.safe_dump_all(answer["objects"], sort_keys=False), end="")
    elif answer["objects"]:
        print(answer["table"])
    else:
        print("No resources found")
    return 0


def _describe(flags: argparse.Namespace) -> int:
    answer = _ask(flags)
    for each in answer["objects"]:
        status = each.pop("status", {})
        conditions = status.pop("conditions", [])
        print(yaml.safe_dump({**each, "status": status}, sort_keys=False), end="")
        if conditions:
            print("Conditions:")
        for found in conditions:
            print(f"  {found['type']}: {found['status']} ({found.get('reason', '')})")
            if found.get("message"):
                print(f"    {found['message']}")
    print("Events:")
    for event in answer["events"] or ():
        count = f" (x{event['count']})" if event["count"] > 1 else ""
        print(f"  {event['type']} {event['reason']}{count}: {event['message']}")
    if not answer["events"]:
        print("  <none>")
    return 0


def _apply(flags: argparse.Namespace) -> int:
    from kaito_laptop.cli import manifests

    try:
        found = manifests.read(flags.filename)
    except manifests.UnreadableFileError as error:
        raise UsageError(str(error)) from error
    return _change(flags, {"change": "apply", "manifests": found})


def _delete(flags: argparse.Namespace) -> int:
    return _change(flags, {"change": "delete", **_named(flags)})


def _annotate(flags: argparse.Namespace) -> int:
    annotations: dict[str, str | None] = {}
    for word in flags.annotations:
        key, sign, value = word.partition("=")
        if not sign and not word.endswith("-"):
            raise UsageError(f"Error: write KEY=VALUE to set {word!r}, or {word}- to remove it")
        annotations[key if sign else word[:-1]] = value if sign else None
    more = {"annotations": annotations, "overwrite": flags.overwrite}
    return _change(flags, {"change": "annotate", **_named(flags), **more})


def _change(flags: argparse.Namespace, question: Mapping[str, Any]) -> int:
    answer = ask(flags.state.absolute(), question)
    for line in answer["lines"]:
        print(line)
    if "error" in answer:
        raise UsageError(f"Error: {answer['error']}")
    return 0


def _named(flags: argparse.Namespace) -> dict[str, Any]:
    return {"kind": flags.kind, "name": flags.name, "namespace": flags.namespace}


def _ask(flags: argparse.Namespace, **more: Any) -> Any:
    answer = ask(flags.state.absolute(), {**_named(flags), **more})
    if "error" in answer:
        raise UsageError(f"Error: {answer['error']}")
    return answer


def _logs(flags: argparse.Namespace) -> int:
    files = _log_files(flags)
    if not files:
        raise UsageError(f"Error: {flags.name} has written nothing yet below {flags.state}/logs")
    for file in files:
        if len(files) > 1:
            print(f"==> {file.parent.name}/{file.stem} <==")
        print(file.read_text(encoding="utf-8", errors="replace"), end="")
    if flags.follow:
        _follow(files[-1], flags.state.absolute())
    return 0


def _log_files(flags: argparse.Namespace) -> list[Path]:
    """Return the logs of a pod, or of all pods that a Workspace has now; the newest last."""
    state = flags.state.absolute()
    names = [flags.name]
    if not log_file(state, flags.namespace, flags.name, "x").parent.is_dir():
        pods = ask(state, {"kind": "Pod", "namespace": flags.namespace})["objects"]
        names = [name(pod) for pod in pods if labels(pod).get(WORKSPACE_LABEL) == flags.name]
    folders = [log_file(state, flags.namespace, each, "x").parent for each in names]
    found = [file for folder in folders for file in folder.glob(f"{flags.container or '*'}.log")]
    return sorted(found, key=lambda file: file.stat().st_mtime)


def _follow(file: Path, state: Path) -> None:
    """Print what is written until the cluster ends."""
    with file.open(encoding="utf-8", errors="replace") as log:
        log.seek(0, os.SEEK_END)
        while True:
            text = log.read()
            if text:
                print(text, end="", flush=True)
            elif not is_taken(state):
                return
            else:
                time.sleep(0.2)


if __name__ == "__main__":
    raise SystemExit(main())
