"""``mycelium journal``: what it prints, writes and exits with."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mycelium.cli.journal as command
from mycelium.core.envelope import decode_frame
from mycelium.journal import LmdbJournal
from mycelium.journal.disk import DATA
from tests.unit.journal.frames import ALL, TOPICS, everything, sample_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    sample_store(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def damaged(store: Path) -> Path:
    journal = LmdbJournal(store)
    frame = journal.read(39, limit=1, max_bytes=ALL)[0].frame
    journal.close()
    data = (store / DATA).read_bytes()
    (store / DATA).write_bytes(data.replace(frame, frame[:-1] + b"?"))
    return store


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(command.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_check_of_a_sound_store(store: Path) -> None:
    said = run("check", store).stdout
    assert "72 frames with 144 messages" in said
    assert "3 streams, 3 durable readers with 9 accounts" in said
    assert "positions 1 to 72, 0 skipped" in said


def test_check_names_the_damage_and_the_way_out(damaged: Path) -> None:
    result = run("check", damaged, code=1)
    assert "record at position 40: crc32" in result.stderr
    assert f"mycelium journal salvage {damaged} --out {damaged}.salvaged" in result.stderr
    assert "2 messages are missing inside streams" in result.stdout


def test_salvage(damaged: Path, tmp_path: Path) -> None:
    result = run("salvage", damaged, "--out", tmp_path / "new", code=1)
    assert "71 frames saved" in result.stdout
    run("check", tmp_path / "new")
    assert "is there already" in run("salvage", damaged, "--out", tmp_path / "new", code=2).stderr


def test_export_lines(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames.jsonl"
    run("export", store, "--out", out, "--topic", "market.*.weth", "--from", "10", "--to", "20")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["position"] for line in lines] == [11, 14, 17, 20]
    for line in lines:
        envelope = decode_frame(base64.b64decode(line["frame"]))
        assert (line["topic"], line["sequence"], line["count"]) == (TOPICS[1], envelope.sequence, envelope.count)
        assert int(line["source"], 16) == envelope.source
    assert [path.name for path in tmp_path.iterdir() if "frames" in path.name] == ["frames.jsonl"]


def test_export_raw_by_time(store: Path) -> None:
    journal = LmdbJournal(store)
    frames = [record.frame for record in everything(journal)]
    journal.close()
    raw = run("export", store, "--format", "raw", "--to", "1970-01-01T00:00:01").stdout_bytes
    read = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        read.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    assert read == frames
    assert run("export", store, "--from", "1970-01-01T00:00:01+00:00").stdout == ""


def test_export_of_a_damaged_store_says_so(damaged: Path) -> None:
    result = run("export", damaged, code=1)
    assert len(result.stdout.splitlines()) == 71
    assert "position 40" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--topic", "Market"], ["--from", "yesterday"], ["--format", "xml"], ["--out", "no/such/place/file"]],
    ids=lambda arguments: arguments[0],
)
def test_wrong_use(store: Path, arguments: list[str]) -> None:
    result = run("export", store, *arguments, code=2)
    assert arguments[1].split("/")[0] in result.stderr


def test_no_store(tmp_path: Path) -> None:
    assert "there is no data.mdb" in run("check", tmp_path / "nothing", code=2).stderr


def test_a_store_that_is_open(store: Path) -> None:
    journal = LmdbJournal(store)
    assert "is open in process" in run("check", store, code=2).stderr
    journal.close()


def test_interrupted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LmdbJournal, "restore", interrupt)
    assert "stopped" in run("salvage", store, "--out", tmp_path / "new", code=130).stderr
    assert not (tmp_path / "new").exists()
    run("check", store)
