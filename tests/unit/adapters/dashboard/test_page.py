"""The files of the page: no code and no style inside of HTML, nothing from elsewhere, and no text that becomes HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from adapters.dashboard.web import page_files

FILES = page_files()
INDEX = FILES["/"].body.decode()


class Elements(HTMLParser):
    """All elements, with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style"):
            self.inline += data.strip()


def test_there_is_no_code_and_no_style_in_the_page() -> None:
    page = Elements(INDEX)
    assert page.inline == ""
    for tag, attributes in page.found:
        assert tag != "style"
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert tag != "script" or attributes.get("src")


def test_everything_it_refers_to_is_here() -> None:
    references = [
        value for _, attributes in Elements(INDEX).found for name in ("src", "href") if (value := attributes.get(name))
    ]
    for file in FILES.values():
        references += re.findall(r'from "([^"]+)"', file.body.decode()) if "javascript" in file.kind else []
    assert {one for one in references if not one.startswith("#")} - FILES.keys() == {"/state"}


def test_nothing_that_is_told_becomes_html() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|setHTML"
    for name, file in FILES.items():
        assert not re.search(ways, file.body.decode()), name


def test_nothing_comes_from_elsewhere() -> None:
    for name, file in FILES.items():
        addresses = set(re.findall(r"https?://[^\s\"')]+", file.body.decode()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name


def test_every_file_has_a_type_and_a_tag_of_its_own() -> None:
    assert len({file.etag for file in FILES.values()}) == len(FILES)
    assert {file.kind.split(";")[0] for file in FILES.values()} == {
        "image/svg+xml",
        "text/css",
        "text/html",
        "text/javascript",
    }
