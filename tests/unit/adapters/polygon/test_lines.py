"""Lines of files that are cut or damaged: what is before the damage arrives, nothing raises, memory is bounded."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from adapters.polygon import lines as module
from adapters.polygon.lines import Fault, Line, LineReader, Position
from mycelium.core.errors import ConfigError


def read(path: Path) -> tuple[list[bytes], list[Fault]]:
    with LineReader(path) as reader:
        found = list(reader.lines())
        assert reader.consumed <= reader.size == path.stat().st_size
    return [entry.text for entry in found if isinstance(entry, Line)], [e for e in found if isinstance(e, Fault)]


CONTENT = b"".join(b"line %d of the file\n" % number for number in range(2000))
LINES = CONTENT.splitlines()


@pytest.mark.parametrize("packed", [False, True])
def test_whole_files(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    assert read(path) == (LINES, [])


def test_positions_count_from_one_and_show_themselves(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\n\nb")
    with LineReader(path) as reader:
        assert list(reader.lines()) == [Line(1, b"a"), Line(2, b""), Line(3, b"b", complete=False)]
    assert (str(Position(3)), str(Position(3, 2))) == ("line 3", "line 3, item 2")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read(tmp_path / "file") == ([], [])


def test_joined_and_padded_gzip_members(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(CONTENT[:1000]) + bytes(200_000) + gzip.compress(CONTENT[1000:]) + bytes(300))
    assert read(path) == (LINES, [])


def test_gzip_cut_at_every_byte(tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % (number * 7919) for number in range(60))
    packed = gzip.compress(content)
    path = tmp_path / "file"
    arrived = 0
    for length in range(2, len(packed)):
        path.write_bytes(packed[:length])
        texts, faults = read(path)
        text = b"\n".join(texts)
        assert content.startswith(text)
        assert [fault.cause for fault in faults] == ["truncated_capture"]
        # Whatever zlib can give at all must have arrived.
        assert len(text) >= len(zlib.decompressobj(wbits=31).decompress(packed[:length]).rstrip(b"\n"))
        assert len(text) >= arrived
        arrived = len(text)
    assert arrived == len(content) - 1


def test_a_wrong_checksum_withholds_nothing(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[-8] ^= 0xFF
    path = tmp_path / "file"
    path.write_bytes(bytes(packed))
    texts, faults = read(path)
    assert texts == LINES
    assert [(fault.cause, "damaged" in fault.detail) for fault in faults] == [("truncated_capture", True)]


def test_damage_in_the_middle_keeps_what_is_before(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    middle = len(packed) // 2
    packed[middle : middle + 40] = b"\xff" * 40
    path = tmp_path / "file"
    path.write_bytes(bytes(packed))
    texts, faults = read(path)
    assert texts[:500] == LINES[:500]
    assert [fault.cause for fault in faults] == ["truncated_capture"]


def test_garbage_behind_a_member(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(CONTENT) + b"garbage")
    texts, faults = read(path)
    assert texts == LINES
    assert [fault.cause for fault in faults] == ["truncated_capture"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 258, 259])
def test_what_zlib_holds_back_in_a_step_arrives_in_the_next(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_UNPACKED", step)
    content = b"a" * 5000 + b"\n" + b"ab" * 3001 + b"\n"
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content))
    assert read(path) == (content.splitlines(), [])


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_too_long_is_skipped_and_reading_goes_on(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 1000)
    content = b"before\n" + b"x" * 1_000_000 + b"\nafter\n" + b"y" * 1000 + b"\n" + b"z" * 1001 + b"\nend\n"
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    texts, faults = read(path)
    assert texts == [b"before", b"after", b"y" * 1000, b"end"]
    assert [(fault.cause, fault.position.line) for fault in faults] == [("malformed_line", 2), ("malformed_line", 5)]


def test_a_line_too_long_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "file"
    path.write_bytes(b"before\n" + b"x" * 500_000)
    texts, faults = read(path)
    assert texts == [b"before"]
    assert [fault.cause for fault in faults] == ["malformed_line"]


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        LineReader(tmp_path / "missing")


def test_a_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        LineReader(tmp_path)
