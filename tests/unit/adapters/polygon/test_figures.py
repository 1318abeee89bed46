"""What the adapter tells of itself when it follows a chain, as figures."""

from __future__ import annotations

import dataclasses
from typing import Any

from adapters.polygon.live.rotation import Standing
from adapters.polygon.live.source import LiveStatistics
from mycelium.core.ledger import Ledger
from mycelium.observe.figures import Figures
from mycelium.service.figures import tell_host
from mycelium.service.host import HostStatistics


def test_each_figure_is_shown_and_those_of_endpoints_by_their_name() -> None:
    values: dict[str, Any] = {field.name: 1_000_000 for field in dataclasses.fields(LiveStatistics)}
    values["reconnects"] = {"north": 2}
    values["endpoints"] = (Standing("north", 0, answered=3, failed=4), Standing("south", 1, answered=5))
    figures = Figures()
    tell_host(figures, HostStatistics(Ledger(), (), {}, {}, {}, {"polygon_adapter": LiveStatistics(**values)}))
    own = {name.removeprefix("mycelium_service_"): family.values() for name, family in figures.families.items()}
    assert own["block"] == {("polygon_adapter", ""): 1_000_000}
    assert own["publish_p99_seconds"] == {("polygon_adapter", ""): 0.001}
    assert own["reconnects"] == {("polygon_adapter", "north"): 2}
    assert own["endpoints_answered"] == {("polygon_adapter", "north"): 3, ("polygon_adapter", "south"): 5}
    assert own["endpoints_failed"] == {("polygon_adapter", "north"): 4, ("polygon_adapter", "south"): 0}
