"""The page of a run: from files to figures, self-contained, and clear about what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.report import __main__ as command
from adapters.report.page import price_gaps, read_run, write_page
from adapters.report.prices import price_of
from contracts.market import PoolMetadata, PoolSync, Protocol, Token
from contracts.values import U256, Address
from mycelium.cli.guard import guarded
from mycelium.core.errors import ConfigError

LATENCY = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "p999": 4.0, "max": 5.0}
SUMMARY: dict[str, Any] = {
    "events": 3,
    "signals": 1,
    "rate_per_s": 1234.5,
    "latency_us": LATENCY,
    "ledger": {
        "balanced": True,
        "dropped": {"queue policy <b>": 2},
        "subscriptions": {"a.on_b": {"published": 5, "delivered": 3, "dropped": 2, "queued": 0}},
        "intake": {"a.file": {"read": 9, "accepted": 5, "ignored": {"other": 3}, "refused": {"bad": 1}}},
    },
}
POOLS = [
    {
        "pool": f"0x{n}",
        "venue": f"v{n}",
        "instrument": "a-b",
        "token0": "A",
        "token1": "B",
        "decimals": {"a": 6, "b": 18},
    }
    for n in (1, 2)
]
PRICES = [
    {"timestamp": 100, "block": 1, "pool": "0x1", "price": 2.0},
    {"timestamp": 102, "block": 2, "pool": "0x2", "price": 2.1},
    {"timestamp": 104, "block": 3, "pool": "0x1", "price": 2.1},
]
SIGNALS = [{"timestamp": 102, "block": 2, "asset": "a", "net_profit": "1500000", "hops": [1, 2]}]


def leave(directory: Path, *, prices: list[Any] = PRICES, signals: list[Any] = SIGNALS) -> Path:
    (directory / "summary.json").write_text(json.dumps(SUMMARY))
    for name, content in (("pools", POOLS), ("prices", prices), ("signals", signals)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    return directory


def test_a_gap_is_how_much_dearer_the_dearest_pool_is(tmp_path: Path) -> None:
    gaps = price_gaps(read_run(leave(tmp_path)))
    ((pair, points),) = gaps.items()
    assert (pair, [at for at, _ in points]) == ("A/B", [102, 104])
    assert [gap for _, gap in points] == pytest.approx([5.0, 0.0])


def test_the_page_needs_no_network_and_shows_the_books(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(read_run(leave(tmp_path)), path)
    page = path.read_text()
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)=["\']?https?:', page)
    assert page.count("<section") == 5
    assert "1,234" in page
    assert "queue policy &lt;b&gt;" in page
    assert "queue policy <b>" not in page
    assert page.count("plotly.js v") == 1, "the library is in it, once"


def test_a_run_without_prices_and_signals_says_so(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(read_run(leave(tmp_path, prices=[], signals=[])), path)
    assert path.read_text().count("There was nothing to draw") == 3


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    leave(tmp_path)
    (tmp_path / "signals.jsonl").write_text("{")
    with pytest.raises(ConfigError, match=r"signals\.jsonl: is not JSON"):
        read_run(tmp_path)
    (tmp_path / "summary.json").unlink()
    with pytest.raises(ConfigError, match="make it with 'mycelium run --summary'"):
        read_run(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path)
    result = CliRunner().invoke(command.app, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout

    def fails() -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            guarded(lambda: command.app([str(tmp_path)], standalone_mode=False))
        return ended.value.code, capsys.readouterr().err

    (tmp_path / "report.html").unlink()
    (tmp_path / "report.html").mkdir()
    code, said = fails()
    assert (code, "Is a directory" in said) == (1, True)
    (tmp_path / "pools.jsonl").unlink()
    code, said = fails()
    assert (code, "the service run_report writes it" in said) == (2, True)


def pool(protocol: Protocol) -> PoolMetadata:
    usdc, weth = Token(Address(bytes(19) + b"\1"), "USDC", 6), Token(Address(bytes(19) + b"\2"), "WETH", 18)
    return PoolMetadata("v", "i", Address(bytes(20)), protocol, usdc, weth, 3000, 60 if protocol == "uniswap_v3" else 0)


def state(reserve0: int, reserve1: int, sqrt_price_x96: int) -> PoolSync:
    return PoolSync(
        "v", "i", Address(bytes(20)), 1, 2, 3, U256(reserve0), U256(reserve1), U256(sqrt_price_x96), U256(1), 0
    )


def test_prices_are_in_whole_tokens() -> None:
    # 2,000 USDC against 1 WETH.
    assert price_of(state(2_000 * 10**6, 10**18, 0), pool(Protocol.UNISWAP_V2)) == pytest.approx(1 / 2000)
    # A square root of 1 is one unit of WETH's 10**-18 for one of USDC's 10**-6.
    assert price_of(state(0, 0, 2**96), pool(Protocol.UNISWAP_V3)) == pytest.approx(1e-12)
    assert price_of(state(0, 0, 0), pool(Protocol.UNISWAP_V2)) is None
    assert price_of(state(0, 0, 0), pool(Protocol.UNISWAP_V3)) is None
