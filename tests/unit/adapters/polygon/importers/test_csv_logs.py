"""CSV files of one pool's logs: the recorded days whole, and every kind of bad line."""

from __future__ import annotations

import gzip
import math
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from adapters.polygon.capture import CaptureReader, Entry, write_capture
from adapters.polygon.decode import V3Swap, decode
from adapters.polygon.importers.csv_logs import CsvReader
from adapters.polygon.lines import Fault
from adapters.polygon.pools import Ignored, PoolBook
from contracts.market import PoolMetadata
from contracts.values import Address
from mycelium.core.errors import ConfigError
from tests.unit.adapters.polygon.samples import V3_POOL, polygon_csv, recorded
from tests.unit.adapters.polygon.test_logs import GOLDEN

FOLDER = "ethereum_uniswap_v3_pair"
FILES = (
    ("polygon_uniswap_v3", "2022-01-05_usdc-weth-005.raw.csv.gz", V3_POOL, 4158, 3972),
    (
        FOLDER,
        "ethereum-0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640-2024-01-05.raw.csv.gz",
        msgspec.structs.replace(V3_POOL, pool=Address("0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640")),
        6234,
        6046,
    ),
    (
        FOLDER,
        "ethereum-0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8-2024-01-05.raw.csv.gz",
        msgspec.structs.replace(
            V3_POOL, pool=Address("0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8"), fee_pips=3000, tick_spacing=60
        ),
        304,
        267,
    ),
)
HEAD = "block_number,block_timestamp,transaction_hash,transaction_index,log_index,topics,data"
ROW = f'23353830,2022-01-05 00:00:02,{GOLDEN["transactionHash"]},0,3,"{GOLDEN["topics"]}",{GOLDEN["data"]}'


def read(path: Path, pool: PoolMetadata = V3_POOL) -> list[Entry | Fault]:
    with CsvReader(path, pool, chain_id=137) as reader:
        found = list(reader)
        assert reader.consumed == reader.size
    return found


@pytest.mark.parametrize(("folder", "name", "pool", "logs", "swaps"), FILES, ids=["polygon", "0.05 %", "0.3 %"])
def test_a_recorded_day(folder: str, name: str, pool: PoolMetadata, logs: int, swaps: int) -> None:
    found = read(recorded(folder, name), pool)
    assert len(found) == logs
    book = PoolBook([pool])
    counted: Counter[str] = Counter()
    for entry in found:
        assert isinstance(entry, Entry), entry
        applied = book.apply(entry.log)
        assert isinstance(applied, tuple | Ignored), applied
        counted[applied.cause if isinstance(applied, Ignored) else str(len(applied))] += 1
        event = decode(entry.log)
        if isinstance(event, V3Swap):
            # Floats will do here: this holds a logarithm against the log's own tick, not money.
            tick = math.floor(2 * math.log(event.sqrt_price_x96 / 2**96) / math.log(1.0001))
            assert abs(tick - event.tick) <= 1
            assert entry.log.timestamp > 0
    assert counted["2"] == swaps
    assert set(counted) == {"1", "2", "not_a_market_event"}


def test_the_second_layout_names_the_same_log() -> None:
    with CsvReader(polygon_csv(), V3_POOL, chain_id=137) as reader:
        first = next(iter(reader))
    assert isinstance(first, Entry)
    assert (first.position.line, first.log.block, first.log.timestamp) == (2, 23353830, 1641340802)


def test_a_csv_file_becomes_a_capture_with_the_same_logs(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    with CsvReader(polygon_csv(), V3_POOL, chain_id=137) as reader:
        write_capture(path, reader.header, (entry.log for entry in reader if isinstance(entry, Entry)))
    logs = [entry.log for entry in read(polygon_csv()) if isinstance(entry, Entry)]
    with CaptureReader(path) as capture:
        assert capture.header.pools == (V3_POOL,)
        assert [entry.log for entry in capture if isinstance(entry, Entry)] == logs


def test_one_row(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"{HEAD}\n{ROW}\n")
    (entry,) = read(tmp_path / "l.csv")
    assert isinstance(entry, Entry)
    assert (entry.log.block, entry.log.log_index, entry.log.timestamp) == (23353830, 3, 1641340802)
    assert len(entry.log.topics) == 3


def test_times_are_utc_wherever_the_machine_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "l.csv").write_text(f"{HEAD}\n{ROW}\n")
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        (entry,) = read(tmp_path / "l.csv")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert isinstance(entry, Entry)
    assert entry.log.timestamp == 1641340802


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("23353830", "", "malformed_log"),
        ("23353830", "-5", "malformed_log"),
        ("23353830", "1e9", "malformed_log"),
        ("23353830", "9" * 19, "malformed_log"),
        ("2022-01-05 00:00:02", "yesterday", "malformed_log"),
        ("0xa47d", "0xa4", "malformed_log"),
        ("['0xc4", "'0xc4", "malformed_log"),
        ("['0xc4", "['", "malformed_log"),
        ("'0xc4", "5, '0xc4", "malformed_log"),
        (",0xffff", ",ffff", "malformed_log"),
        (",0,3,", ",0,", "malformed_line"),
        (ROW, "rubbish", "malformed_line"),
        (ROW, "", "malformed_line"),
        (ROW, '"', "malformed_line"),
    ],
)
def test_bad_rows_are_told_and_reading_goes_on(tmp_path: Path, old: str, new: str, cause: str) -> None:
    assert old in ROW
    path = tmp_path / "l.csv"
    path.write_text(f"{HEAD}\n{ROW.replace(old, new, 1)}\n{ROW}\n")
    fault, entry = read(path)
    assert isinstance(fault, Fault)
    assert (fault.cause, fault.position.line) == (cause, 2)
    assert isinstance(entry, Entry)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(f"{HEAD}\n".encode() + b"\xff\xfe\n" + ROW.encode())
    assert [getattr(entry, "cause", "log") for entry in read(tmp_path / "l.csv")] == ["malformed_line", "log"]


def test_files_that_are_cut(tmp_path: Path) -> None:
    text = f"{HEAD}\n{ROW}\n{ROW}\n".encode()
    (tmp_path / "plain.csv").write_bytes(text[: len(HEAD) + len(ROW) + 40])
    assert [getattr(entry, "cause", "log") for entry in read(tmp_path / "plain.csv")] == ["log", "truncated_capture"]
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text)[:-9])
    assert [getattr(entry, "cause", "log") for entry in read(tmp_path / "packed.csv.gz")][-1] == "truncated_capture"


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\xff\n", HEAD.replace("topics", "tropics").encode()])
def test_other_columns_are_the_users_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(ConfigError, match="expected columns"):
        CsvReader(tmp_path / "l.csv", V3_POOL, chain_id=137)
