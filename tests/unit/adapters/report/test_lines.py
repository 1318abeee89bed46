from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.report.lines import LineFile
from mycelium.core.errors import PathError

PLACE = itemgetter("block", "name")


def written(path: Path, lines: Sequence[tuple[int, str]]) -> int:
    file = LineFile(path, PLACE)
    for block, name in lines:
        file.write({"block": block, "name": name})
    assert len(path.read_text().splitlines()) == len(lines), "every line is in the file when it has been written"
    return file.close()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"))))
def test_a_closed_file_has_every_line_once_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, str]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    assert written(path, lines) == len(lines) - len(set(lines))
    assert [PLACE(json.loads(line)) for line in path.read_text().splitlines()] == sorted(set(lines))
    assert list(path.parent.iterdir()) == [path]


def test_void_lines_are_left_out_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    file = LineFile(path, PLACE)
    for block in (1, 2, 2, 3):
        file.write({"block": block, "name": "a"})
    assert (file.close(lambda line: line["block"] == 2), file.void) == (1, 1)
    assert [json.loads(line)["block"] for line in path.read_text().splitlines()] == [1, 3]


def test_a_file_in_order_is_not_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    (tmp_path / "x.jsonl.partial").mkdir()
    assert written(path, [(1, "a"), (1, "b"), (2, "a")]) == 0


def test_a_file_that_cannot_be_put_in_order_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    (tmp_path / "x.jsonl.partial").mkdir()
    with pytest.raises(PathError, match=r"x\.jsonl: cannot be put in order: Is a directory"):
        written(path, [(2, "a"), (1, "a")])
    assert [json.loads(line)["block"] for line in path.read_text().splitlines()] == [2, 1]


def test_a_full_disk_is_one_sentence_and_the_file_is_left_alone(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full, which stands in for a full disk")
    path = tmp_path / "x.jsonl"
    path.symlink_to("/dev/full")
    file = LineFile(path, PLACE)
    for block in (2, 1):
        with pytest.raises(PathError, match=r"x\.jsonl: cannot be written: No space left on device"):
            file.write({"block": block, "name": "a"})
    assert file.close() == 0


def test_a_line_that_was_cut_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    file = LineFile(path, PLACE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1]))  # room for two lines and a half
    try:
        for block in (2, 1):
            file.write({"block": block, "name": "a"})
        with pytest.raises(PathError, match=r"x\.jsonl: cannot be written: the disk is full"):
            file.write({"block": 0, "name": "a"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    before = path.read_bytes()
    assert (len(before), file.close(), path.read_bytes()) == (60, 0, before)
