"""Settings of the source service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.polygon.settings import PolygonSettings
from tests.unit.adapters.polygon.samples import V3_POOL
from tests.unit.adapters.polygon.test_describe import ENTRY


def test_a_capture_needs_its_name_only() -> None:
    settings = PolygonSettings.model_validate({"source": "a.jsonl.gz"}, context={"directory": Path("config")})
    assert settings.source == Path("config/a.jsonl.gz")
    assert (settings.chain_id, settings.is_csv) == (137, False)


@pytest.mark.parametrize("name", ["logs.csv", "logs.raw.csv.gz"])
def test_a_csv_file_needs_its_pool(name: str) -> None:
    settings = PolygonSettings.model_validate({"source": name, "pools": [ENTRY]})
    assert settings.is_csv
    assert settings.pools[0].metadata() == V3_POOL


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "source"),
        ({"source": "logs.csv"}, "describe it"),
        ({"source": "logs.csv", "pools": [ENTRY, ENTRY]}, "found 2"),
        ({"source": "c.jsonl", "pools": [ENTRY]}, "leave them out"),
        ({"source": "c.jsonl", "chain_id": 0}, "chain_id"),
        ({"source": "c.jsonl", "sauce": 1}, "sauce"),
    ],
)
def test_mistakes(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PolygonSettings.model_validate(table)
