"""The pages of the documentation and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
EXAMPLES = DOCS / "examples"
FRAGMENTS = DOCS / "changelog.d"

PAGES = sorted(
    [
        *(page for page in DOCS.rglob("*.md") if FRAGMENTS not in page.parents),
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ]
)

_MARK = re.compile(r"^# (end)?region ([a-z-]+)\n", re.MULTILINE)


def name_of(page: Path) -> str:
    """A page's path from the repository's root, for test ids."""
    return page.relative_to(REPOSITORY).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Args:
        page: where it stands.
        line: of its opening fence, from 1.
        language: what the fence says.
        text: what is inside, with a newline at the end.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page. A fence without an end swallows the rest of the page."""
    opened: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            inside.append(line)
        elif opened is None:
            opened, inside = (number, line.removeprefix("```").strip()), []
        else:
            yield Block(page, *opened, "\n".join(inside) + "\n")
            opened = None
    assert opened is None, f"{name_of(page)}:{opened[0]}: the fence has no end"


def blocks(language: str) -> list[Block]:
    """All blocks of one language, page by page."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


def prose_of(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page outside fenced blocks, with their numbers."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def code_of(page: Path) -> Iterator[str]:
    """Everything on a page that is written as code: fenced lines and spans."""
    for block in blocks_of(page):
        yield from block.text.splitlines()
    for _, line in prose_of(page):
        yield from re.findall(r"`([^`]+)`", line)


def pieces() -> dict[str, str]:
    """What a page may show: every example, whole or one marked region of it, by name."""
    found: dict[str, str] = {}
    for file in sorted(EXAMPLES.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        name = file.relative_to(EXAMPLES).as_posix()
        found[name] = text
        marks = list(_MARK.finditer(text))
        for begin, end in zip(marks[::2], marks[1::2], strict=True):
            assert (begin[1], end[1], end[2]) == (None, "end", begin[2]), f"{name}: {begin[0]!r} is not closed"
            found[f"{name}#{begin[2]}"] = text[begin.end() : end.start()]
    return {name: text.strip("\n") + "\n" for name, text in found.items()}
