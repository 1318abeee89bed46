"""The reference pages say what the code says."""

from __future__ import annotations

import enum
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import mycelium
from adapters.dashboard.settings import DashboardSettings
from adapters.polygon.live.settings import CacheEntry, EndpointEntry, FilterEntry, LiveSettings, VenueEntry
from adapters.polygon.settings import PolygonSettings
from adapters.report.service import ReportSettings
from mycelium.core.envelope import HEADER_BYTES
from mycelium.topology.model import (
    Broker,
    BrokerLimits,
    BrokerTopics,
    Bundle,
    Deployment,
    Http,
    InterBundle,
    Logging,
    Security,
    ServiceDelivery,
    TopicSampling,
    Tracing,
)
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from tests.docs import command_line
from tests.docs.pages import DOCS, FRAGMENTS, REPOSITORY

REFERENCE = DOCS / "reference"
MODELS: dict[str, type[BaseModel]] = {
    "deployment": Deployment,
    "inter_bundle": InterBundle,
    "bundles": Bundle,
    "broker": Broker,
    "broker.topics": BrokerTopics,
    "broker.limits": BrokerLimits,
    "delivery.service": ServiceDelivery,
    "http": Http,
    "security": Security,
    "logging": Logging,
    "tracing": Tracing,
    "tracing.topics": TopicSampling,
    "services.polygon_adapter": PolygonSettings,
    "services.polygon_adapter.live": LiveSettings,
    "services.polygon_adapter.live.endpoints": EndpointEntry,
    "services.polygon_adapter.live.venues": VenueEntry,
    "services.polygon_adapter.live.filter": FilterEntry,
    "services.polygon_adapter.live.cache": CacheEntry,
    "services.flash_arbitrage": FlashArbitrageSettings,
    "services.run_report": ReportSettings,
    "services.dashboard": DashboardSettings,
}


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_command_line_is_fresh() -> None:
    assert _text(command_line.PAGE) == command_line.render(), "run 'python -m tests.docs.command_line'"


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, enum.Enum):
        return _shown(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | bytes | Path):
        return '"' + str(value) + '"'
    return repr(value)


def _entries() -> Iterator[tuple[str, str]]:
    """Every key with how its default is written: ``required``, ``none``, or the value as TOML has it."""
    for table, model in MODELS.items():
        for name, field in model.model_fields.items():
            key = f"{table}.{name}"
            if isinstance(field.default, BaseModel):
                continue  # a table of its own
            if field.is_required():
                yield key, "required"
            elif field.default is None:
                yield key, "no default"
            elif field.default is PydanticUndefined:
                yield key, "default `{}`"
            else:
                yield key, f"default `{_shown(field.default)}`"


@pytest.mark.parametrize(("key", "default"), list(_entries()))
def test_configuration_has_the_key_and_its_default(key: str, default: str) -> None:
    assert f"- `{key}`, {default}:" in _text(REFERENCE / "configuration.md")


def test_configuration_has_no_other_key() -> None:
    written = re.findall(r"^- `([a-z_.0-9]+)`, ", _text(REFERENCE / "configuration.md"), re.MULTILINE)
    assert set(written) == {key for key, _ in _entries()}
    assert len(written) == len(set(written))


def test_wire_format_shows_the_golden_frames() -> None:
    golden = json.loads(_text(REPOSITORY / "tests" / "data" / "envelopes" / "golden.json"))
    page = _text(REFERENCE / "wire-format.md")
    for name in ("smallest", "two messages"):
        frame, topic = golden[name]["frame"], golden[name]["envelope"]["topic"]
        zero = 2 * len(topic) + 2
        body = zero + 2 * HEADER_BYTES
        parts = (frame[:zero], frame[zero:body], frame[body : body + 12], frame[body + 12 :])
        assert "".join(parts) == frame
        assert "\n".join(("```text", *parts, "```")) in page, name


def test_the_glossary_links_words_that_are_public() -> None:
    words = re.findall(r"`mycelium\.(\w+)`", _text(REFERENCE / "glossary.md"))
    assert len(words) >= 5
    assert set(words) <= set(mycelium.__all__)


def _license_of(name: str) -> str:
    about = metadata(name)
    stated = [about[key] for key in ("License-Expression", "License") if key in about]
    stated += [
        text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if text.startswith("License ::")
    ]
    # What says nothing has the file: its first line is the licence's name.
    return stated[0] if stated else str(distribution(name).read_text("licenses/LICENSE")).strip().splitlines()[0]


def _required() -> list[str]:
    project = tomllib.loads(_text(REPOSITORY / "pyproject.toml"))
    groups = project["dependency-groups"].values()
    listed = [*project["project"]["dependencies"], *(entry for group in groups for entry in group)]
    listed += project["build-system"]["requires"]
    return sorted({re.split(r"[\[><=~ ]", entry)[0] for entry in listed if isinstance(entry, str)})


@pytest.mark.parametrize("name", _required())
def test_every_dependency_has_its_line(name: str) -> None:
    lines = [
        line for line in _text(DOCS / "explanations" / "dependencies.md").splitlines() if line.startswith(f"- `{name}`")
    ]
    assert len(lines) == 1
    try:
        license_name = _license_of(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert f"- `{name}` ({license_name})" in lines[0]


def test_the_changelog_has_its_place_for_fragments() -> None:
    assert "<!-- towncrier release notes start -->\n" in _text(REPOSITORY / "CHANGELOG.md")
    assert re.fullmatch(r"(\d+|\+[\w-]+)\.(feature|bugfix|doc|removal|misc)\.md", next(FRAGMENTS.glob("*.md")).name)


def test_decisions_are_numbered_without_holes() -> None:
    decisions = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(file.name[:4]) for file in decisions] == list(range(1, len(decisions) + 1))
    for file in decisions:
        headings = re.findall(r"^## (.+)$", _text(file), re.MULTILINE)
        assert headings == ["Status", "Context", "Decision", "Consequences"], file.name
        assert len(_text(file).splitlines()) <= 60, f"{file.name} is longer than a page"
