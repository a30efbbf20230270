"""The command `kaito`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kaito_laptop.cli import control_client as control
from kaito_laptop.core.errors import LaptopError

# Modules of the cluster are imported by the commands that run one: the others answer at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(args=arguments, prog_name="kaito")
    except LaptopError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def default_state() -> Path:
    """Return the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "kaito"


class Output(StrEnum):
    """How `kaito get` prints objects."""

    wide = "wide"
    yaml = "yaml"


app = typer.Typer(
    help="Kaito on this computer.",
    no_args_is_help=True,
    # Help and errors are plain text: they are read in pipes and quoted in issues.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
State = Annotated[
    Path,
    typer.Option(
        "--state",
        metavar="FOLDER",
        default_factory=default_state,
        show_default="~/.local/state/kaito",
        help="Folder of this cluster's files; two clusters need two.",
    ),
]
Files = Annotated[
    list[Path],
    typer.Option(
        "--filename",
        "-f",
        metavar="FILE",
        help="Manifests to apply: a file or a folder; may be given several times.",
    ),
]
Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="Kind, plural or short name, as kubectl takes it.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the object.")]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", metavar="NAMESPACE", help="Of one namespace; `default` for one object."
    ),
]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"kaito {version('kaito-laptop')}")
        raise typer.Exit


@app.callback()
def _kaito(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Kaito on this computer."""


@app.command()
def up(
    filename: Files,
    state: State,
    question: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Asked of the model once /chat answers.", show_default=False
        ),
    ] = "",
    once: Annotated[
        bool,
        typer.Option("--once", help="End after the answer, or when a Workspace cannot succeed."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep logs and pushed images afterwards.")
    ] = False,
) -> None:
    """Run a cluster on this computer and apply manifests to it."""
    from kaito_laptop.cli.up import Options, run

    raise typer.Exit(run(Options(filename, state.absolute(), question, once, keep)))


@app.command()
def demo(state: State) -> None:
    """Teach a small model a fact, serve it and ask it."""
    from kaito_laptop.cli.demo import run_demo

    raise typer.Exit(run_demo(state.absolute()))


@app.command()
def get(
    state: State,
    kind: Kind = "workspaces",
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of one object.")] = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="More columns, or the objects.")
    ] = None,
    namespace: Namespace = None,
) -> None:
    """Print objects of the running cluster."""
    wide = output == Output.wide
    answer = _ask(state, {**_object(kind, name, namespace), "wide": wide})
    if output == Output.yaml:
        import yaml

        print(yaml.safe_dump_all(answer["objects"], sort_keys=False), end="")
    else:
        print(answer["table"] if answer["objects"] else "No resources found")


@app.command()
def describe(state: State, kind: Kind, name: Name, namespace: Namespace = None) -> None:
    """Print an object with its conditions and events."""
    from kaito_laptop.cli.description import description

    answer = _ask(state, _object(kind, name, namespace))
    print("\n".join(description(answer["objects"], answer["events"])))


@app.command()
def logs(
    state: State,
    name: Annotated[str, typer.Argument(metavar="POD|WORKSPACE", help="Whose logs.")],
    container: Annotated[
        str | None, typer.Option("--container", "-c", metavar="NAME", help="Of one container.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the cluster ends.")
    ] = False,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", metavar="NAMESPACE", help="Where the pod or Workspace is."
        ),
    ] = "default",
) -> None:
    """Print what a pod, or the pods of a Workspace, wrote."""
    from kaito_laptop.cli.pod_logs import PodLogs

    PodLogs(state.absolute(), namespace).show(name, container, follow=follow)


@app.command()
def apply(filename: Files, state: State) -> None:
    """Apply manifests to the running cluster."""
    from kaito_laptop.cli.manifests import read

    _change(state, {"change": "apply", "manifests": read(filename)})


@app.command()
def delete(state: State, kind: Kind, name: Name, namespace: Namespace = None) -> None:
    """Delete an object of the running cluster."""
    _change(state, {"change": "delete", **_object(kind, name, namespace)})


@app.command()
def annotate(  # noqa: PLR0913, PLR0917  each is a word of the command line
    state: State,
    kind: Kind,
    name: Name,
    annotations: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE|KEY-...", help="Annotations to set, or with - to remove."
        ),
    ],
    namespace: Namespace = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Change what is there already.")
    ] = False,
) -> None:
    """Annotate an object of the running cluster."""
    changes: dict[str, str | None] = {}
    for word in annotations:
        key, sign, value = word.partition("=")
        if not sign and not word.endswith("-"):
            raise LaptopError(f"write KEY=VALUE to set {word!r}, or {word}- to remove it")
        changes[key if sign else word[:-1]] = value if sign else None
    found = _object(kind, name, namespace)
    _change(state, {"change": "annotate", **found, "annotations": changes, "overwrite": overwrite})


def _object(kind: str, name: str | None, namespace: str | None) -> dict[str, Any]:
    return {"kind": kind, "name": name, "namespace": namespace}


def _ask(state: Path, question: Mapping[str, Any]) -> Any:
    answer = control.ask(state.absolute(), question)
    if "error" in answer:
        raise LaptopError(answer["error"])
    return answer


def _change(state: Path, question: Mapping[str, Any]) -> None:
    answer = control.ask(state.absolute(), question)
    for line in answer["lines"]:
        print(line)
    if "error" in answer:
        raise LaptopError(answer["error"])
