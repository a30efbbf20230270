"""The commands of the docs, the README, and the comments of manifests."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.harness.wire import ROOT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
COMMENTED = [
    each
    for folder in ("examples", "manifests", "crds")
    for each in sorted((ROOT / folder).rglob("*.yaml"))
]
PROGRAMS = ("kubectl", "az", "kaito", ".venv/bin/kaito", "make", "curl")
MENTIONS = re.compile(r"(kubectl|kaito|make|az)( (apply -k|apply|annotate|get|explain|up|wait))?")
"""The name of a program or of a verb, in a sentence."""
CAPITALS = re.compile(r"Words in capitals are yours: ([A-Z_, ]+)\.")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page."""

    page: Path
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text}"

    @property
    def words(self) -> list[str]:
        return [word for word in shlex.split(self.text, comments=True) if word != "&"]


def blocks(page: Path) -> list[str]:
    """The shell blocks; of one with prompts the lines that are typed."""
    text = page.read_text(encoding="utf-8")
    found = [
        re.sub(r"^" + indent, "", block, flags=re.MULTILINE)
        for indent, block in re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    ]
    return [
        "\n".join(re.findall(r"^\$ (.*)$", block, re.MULTILINE))
        if "\n$ " in f"\n{block}"
        else block
        for block in found
    ]


def in_blocks(page: Path) -> list[str]:
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith(PROGRAMS)]


def in_sentences(page: Path) -> list[str]:
    text = re.sub(
        r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    if page.suffix == ".yaml":
        text = "\n".join(re.findall(r"#.*$", text, re.MULTILINE))
    found = re.findall(r"`((?:[A-Z_]+=\S+ )?(?:kubectl|az|kaito|make|curl) [^`]+)`", text)
    return [each for each in found if not MENTIONS.fullmatch(each)]


COMMANDS = [
    Command(page, text) for page in PAGES for text in (*in_blocks(page), *in_sentences(page))
]
COMMANDS += [Command(page, text) for page in COMMENTED for text in in_sentences(page)]


def explained(page: Path) -> frozenset[str]:
    found = CAPITALS.search(page.read_text(encoding="utf-8"))
    return frozenset(re.findall(r"[A-Z_]+", found[1])) if found else frozenset()
