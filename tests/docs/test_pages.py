"""The pages show code that runs, and name nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from mycelium.cli.main import app
from tests.docs.pages import DOCS, EXAMPLES, PAGES, REPOSITORY, blocks, code_of, name_of, pieces, prose_of

_LINK = re.compile(r"\]\(([^)\s]*)\)")
_COMMAND = re.compile(r"^(?:\$ )?\s*(?:[A-Z_]+=\S+ )*mycelium((?: [a-z]+)+)")
_PLACES = ("tutorials", "how-to", "explanations", "reference", "decisions", "GUARDRAILS")
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_every_python_block_is_an_example() -> None:
    shown, known = blocks("python"), set(pieces().values())
    assert [str(block) for block in shown if block.text not in known] == []
    assert len(shown) >= 14


def test_every_example_is_shown() -> None:
    shown = {block.text for block in blocks("python")}
    unseen = {name for name, text in pieces().items() if text not in shown}
    # An example of which a page shows a region need not be shown whole.
    assert {name for name in unseen if "#" in name or not any(other.startswith(f"{name}#") for other in pieces())} == (
        set()
    )


def test_every_output_block_is_what_an_example_prints() -> None:
    shown = blocks("output")
    printed = {file.read_text(encoding="utf-8") for file in EXAMPLES.glob("*.out")}
    assert [str(block) for block in shown if block.text not in printed] == []
    assert len(shown) >= 10


def _slugs(page: Path) -> set[str]:
    headings = [line.lstrip("#") for _, line in prose_of(page) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for number, line in prose_of(page):
        for target in _LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in _slugs(file)):
                broken.append(f"{name_of(page)}:{number}: {target}")
    assert broken == []


def test_every_page_is_in_a_map() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    decisions = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    guardrails = (DOCS / "GUARDRAILS" / "README.md").read_text(encoding="utf-8")
    maps = {"decisions": decisions, "GUARDRAILS": guardrails}
    lost = []
    for place in _PLACES:
        for page in sorted((DOCS / place).glob("*.md")):
            target = f"({page.name})" if place in maps and page.name != "README.md" else f"({place}/{page.name})"
            text = maps.get(place, index) if page.name != "README.md" else index
            if target not in text:
                lost.append(name_of(page))
    assert lost == []


@each_page
def test_make_targets_exist(page: Path) -> None:
    makefile = REPOSITORY / "Makefile"
    if not makefile.is_file():
        pytest.skip("there is no Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile.read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for code in code_of(page) for name in re.findall(r"^make ([a-z-]+)", code)}
    assert named <= targets


def _command_exists(words: list[str]) -> bool:
    command = get_command(app)
    for word in words:
        inside = getattr(command, "commands", None)
        if inside is None:
            return True  # what follows is an argument
        if word not in inside:
            return False
        command = inside[word]
    return True


@each_page
def test_mycelium_commands_exist(page: Path) -> None:
    named = [words.split() for code in code_of(page) for words in _COMMAND.findall(code)]
    assert [words for words in named if not _command_exists(words)] == []


@each_page
def test_one_sentence_per_line(page: Path) -> None:
    if "<!-- Generated" in page.read_text(encoding="utf-8"):
        pytest.skip("generated")
    crowded = [
        f"{name_of(page)}:{number}"
        for number, line in prose_of(page)
        if not line.startswith("|") and re.search(r"[a-z`)][.?!] [A-Z`]", line)
    ]
    assert crowded == []
