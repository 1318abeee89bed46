"""The commands, as a user starts them: what they say, and that mistakes end with a sentence and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.polygon import cli
from adapters.polygon.capture import CaptureReader, Entry
from tests.unit.adapters.polygon.importers.synthetic import block, get_reserves, run, swap
from tests.unit.adapters.polygon.importers.test_csv_logs import HEAD, ROW
from tests.unit.adapters.polygon.samples import USDC, V3_POOL, WETH

CSV_OPTIONS = [
    *("--pool", str(V3_POOL.pool)),
    *("--token0", f"{USDC.address}:USDC:6"),
    *("--token1", f"{WETH.address}:WETH:18"),
]


def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run the command line; returns the exit code and what stood on standard error."""
    monkeypatch.setattr("sys.argv", ["adapters.polygon", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    code = ended.value.code
    return (code if isinstance(code, int) else 0), said.err


def test_import_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "l.csv", tmp_path / "c.jsonl"
    source.write_text(f"{HEAD}\n{ROW}\n")
    code, said = start(monkeypatch, capsys, "import-csv", source, "--out", out, *CSV_OPTIONS)
    assert (code, "1 logs, 0 faults" in said) == (0, True)
    with CaptureReader(out) as reader:
        assert reader.header.pools == (V3_POOL,)
        assert [type(entry) for entry in reader] == [Entry]


def test_import_csv_tells_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "l.csv", tmp_path / "c.jsonl"
    source.write_text(f"{HEAD}\nrubbish\n{ROW}\n")
    code, said = start(monkeypatch, capsys, "import-csv", source, "--out", out, *CSV_OPTIONS)
    assert code == 1
    assert "line 2: malformed_line" in said
    assert "1 logs, 1 faults" in said


def test_import_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    block(tmp_path / "b.json", run(get_reserves(5000, 5000), swap(0, 9, 5010, 4991)))
    code, said = start(monkeypatch, capsys, "import-block", tmp_path / "b.json", "--out", tmp_path / "c.jsonl")
    assert (code, "1 swaps in 1 pairs" in said) == (0, True)
    with CaptureReader(tmp_path / "c.jsonl") as reader:
        assert reader.header.chain_id == 1
        assert [(entry.log.block, entry.log.log_index) for entry in reader if isinstance(entry, Entry)] == [
            (6, 0),
            (7, 0),
            (7, 1),
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "--tools", "nowhere"], "EVM node anvil is missing"),
        (["import-block", "missing.json"], "cannot be read"),
        (["import-csv", "missing.csv", *CSV_OPTIONS], "No such file"),
        (["import-csv", "l.csv", *CSV_OPTIONS, "--token0", "USDC"], "ADDRESS:SYMBOL:DECIMALS"),
        (["import-csv", "l.csv", *CSV_OPTIONS, "--pool", "0x1"], "no address"),
        (["import-csv", "l.csv", *CSV_OPTIONS, "--protocol", "curve"], "uniswap_v2"),
    ],
)
def test_mistakes_of_the_user(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = start(monkeypatch, capsys, *arguments, "--out", tmp_path / "c.jsonl")
    assert code == 2
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block(tmp_path / "b.json", run(get_reserves(5000, 5000), swap(0, 9, 5010, 4991)))
    out = tmp_path / "missing" / "c.jsonl"
    code, said = start(monkeypatch, capsys, "import-block", tmp_path / "b.json", "--out", out)
    assert (code, "No such file or directory" in said) == (1, True)
