"""Writes the tables of the documentation that the code has the facts of: `make docs`.

A page has a table between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; NAME is a key of `TABLES`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kaito_contract.reasons import Reason, Recovery

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"(<!-- ([a-z-]+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)
_ENDS = {
    Recovery.RETRY: "75 where the cause may pass, and the Job tries again; else 1",
    Recovery.RERUN: "1: the Job ends, a server is restarted",
    Recovery.CHANGE: "1: the Job ends, a server is restarted and its Workspace `Stalled`, as no restart helps",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [f"| {' | '.join(line)} |\n" for line in (head, *rows)]
    return "".join([lines[0], f"|{'---|' * len(head)}\n", *lines[1:]])


def reasons_for_owners() -> str:
    """What the owner of a Workspace does about each reason of a program."""
    head = ("reason", "what it means", "what to do")
    return table(head, ((f"`{each}`", each.text, each.remedy) for each in Reason))


def reasons_for_programs() -> str:
    """How a program ends with each reason."""
    return table(
        ("exit code", "reasons"),
        (
            (words, ", ".join(f"`{each}`" for each in Reason if each.recovery is recovery))
            for recovery, words in _ENDS.items()
        ),
    )


TABLES: dict[str, Callable[[], str]] = {
    "reasons-for-owners": reasons_for_owners,
    "reasons-for-programs": reasons_for_programs,
}


def written(text: str) -> str:
    """Return a page with its tables as they are now."""
    return _BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
