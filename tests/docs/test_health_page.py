"""What the page about health shows is what is read and what is answered."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from pathlib import Path

from mycelium.observe.endpoints import LIVE, PUBLIC, READY, application
from mycelium.observe.http_guard import Guard
from mycelium.topology.load import load_topology
from tests.docs.pages import DOCS, REPOSITORY, blocks_of
from tests.unit.observe.test_http_guard import Time, ask

PAGE = DOCS / "how-to" / "health-endpoints.md"


def blocks(language: str) -> list[str]:
    return [block.text for block in blocks_of(PAGE) if block.language == language]


def test_each_table_fits_the_systems_own_topologies(tmp_path: Path) -> None:
    (tmp_path / "system.yaml").touch()
    for name in ("monolith", "bundled", "distributed"):
        (tmp_path / f"{name}.toml").write_text((REPOSITORY / "config" / f"{name}.toml").read_text())
    whole, each, beyond = blocks("toml")
    for mode, table in (("monolith", whole), ("distributed", each), ("distributed", beyond)):
        path = tmp_path / "tried.toml"
        path.write_text(f'[deployment]\nbase = "{mode}.toml"\n{table}')
        read = load_topology(path).values.http.model_dump(exclude_defaults=True, mode="json")
        assert read == tomllib.loads(table)["http"]


async def test_each_answer_is_the_one_that_is_given() -> None:
    shown = blocks("json")
    assert len(shown) == 3
    for text in shown:
        waiting = json.loads(text)["not_ready"]
        guard = Guard(application(partial(dict, waiting)), token=None, public=PUBLIC, loopback=True, time_ns=Time())
        answer = await ask(guard, READY, host="localhost")
        assert answer.body.decode() == text.strip()
        assert answer.status == (503 if waiting else 200)


def test_the_paths_are_those_that_are_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{path}` |" in text for path in (LIVE, READY))
    assert {LIVE, READY} == PUBLIC
