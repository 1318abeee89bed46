"""`mycelium keys`: what it writes, what it says, and that whatever is wrong is a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mycelium.cli.main import main
from mycelium.transport.keyring import Keyring, fingerprint
from tests.processes.disks import mounted

SPEC = """
system: small
contracts: {}
services:
  feeder: {class: "a:A", publishes: [], subscribes: [], restart: always, depends_on: []}
  trader_of_flash_arbitrages: {class: "a:A", publishes: [], subscribes: [], restart: always, depends_on: []}
operators:
  ledger: {asks: [books]}
"""
EVERYBODY = ["broker", "feeder", "trader_of_flash_arbitrages", "ledger"]


@dataclass
class Done:
    code: int
    out: str
    error: str

    @property
    def screen(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`mycelium keys`, in a directory with a spec; no secret key is in what it writes, nor a traceback."""
    monkeypatch.chdir(tmp_path)
    Path("system.yaml").write_text(SPEC)

    def keys(*arguments: str, columns: int = 100) -> Done:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["mycelium", "keys", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        for secret in secrets(tmp_path):
            assert secret not in said.out + said.err
        assert "Traceback" not in said.err
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, said.out, said.err)

    return keys


def secrets(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*.key_secret"):
        yield from re.findall(r'secret-key = "(.*)"', path.read_text())


def printed(name: str) -> str:
    """The fingerprint of the current key of a name."""
    return fingerprint(next(key.key for key in Keyring(Path("keys")).public_keys() if key.name == name))


# --- init ----------------------------------------------------------------------------------------


def test_init_makes_keys_for_everybody_once(run: Run) -> None:
    done = run("init")
    assert (done.code, done.out) == (0, f"keys: made keys for {', '.join(EVERYBODY)}\n")
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("keys").iterdir()}
    assert found == {f"{name}.key": 0o644 for name in EVERYBODY} | {f"{name}.key_secret": 0o600 for name in EVERYBODY}
    before = {path.name: path.read_bytes() for path in Path("keys").iterdir()}
    done = run("init")
    assert (done.code, done.out) == (0, "keys: everybody has keys already\n")
    assert {path.name: path.read_bytes() for path in Path("keys").iterdir()} == before


def test_init_makes_what_is_missing(run: Run) -> None:
    run("init", "--keys", "else/where")
    Path("system.yaml").write_text(SPEC + "  tap: {}\n")
    done = run("init", "--keys", "else/where")
    assert (done.code, done.out) == (0, "else/where: made keys for tap\n")


def test_the_environment_says_where_the_keys_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIUM_SECURITY__KEYS", "there")
    assert run("init").out.startswith("there: made keys for broker")
    assert run("list").code == 0


@pytest.mark.parametrize("command", [["init"], ["add", "feeder"], ["list"]])
def test_a_spec_that_is_missing_or_wrong(run: Run, command: list[str]) -> None:
    Keyring(Path("keys")).create("other", 0)
    Path("system.yaml").write_text("system: [")
    done = run(*command)
    assert done.code == 2
    assert "error: system.yaml: is not YAML" in done.error
    done = run(*command, "--spec", "nowhere.yaml")
    assert done.code == 2
    assert done.error.startswith("error: nowhere.yaml: cannot be read: No such file")


def test_a_service_may_not_be_called_like_the_broker(run: Run) -> None:
    Path("system.yaml").write_text(SPEC.replace("  feeder:", "  broker:"))
    done = run("init")
    assert done.code == 2
    assert "services.broker: is the name of the broker" in done.error
    assert not Path("keys").exists()


def test_a_service_whose_name_makes_no_file(run: Run) -> None:
    Path("system.yaml").write_text(SPEC.replace("  feeder:", "  Feed.er:"))
    done = run("init")
    assert (done.code, done.error) == (
        2, "error: keys: the name 'Feed.er': up to 128 lower-case letters, digits, _ and - are accepted\n",
    )  # fmt: skip


# --- add -----------------------------------------------------------------------------------------


def test_add_makes_one_pair_and_not_twice(run: Run) -> None:
    done = run("add", "feeder")
    assert (done.code, done.out) == (0, f"keys: feeder has key {printed('feeder')}\n")
    assert sorted(path.name for path in Path("keys").iterdir()) == ["feeder.key", "feeder.key_secret"]
    done = run("add", "feeder")
    assert done.code == 2
    assert done.error == "error: keys/feeder.key: is there already; `mycelium keys rotate feeder` replaces it\n"


def test_add_names_those_who_may_have_keys(run: Run) -> None:
    done = run("add", "feader")
    assert done.code == 2
    assert done.error == (
        "error: system.yaml = 'feader': has no service or operator of this name; those are "
        "broker, feeder, trader_of_flash_arbitrages, ledger\n"
    )
    assert not Path("keys").exists()


# --- rotate --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlap", "seconds"), [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)])
def test_rotate_keeps_the_old_key_for_the_overlap(run: Run, overlap: str, seconds: int) -> None:
    run("init")
    old = printed("feeder")
    done = run("rotate", "feeder", "--overlap", overlap)
    assert done.code == 0
    assert re.fullmatch(
        rf"keys: feeder has key {printed('feeder')}; the old one until \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00\n",
        done.out,
    )
    current, replaced = [key for key in Keyring(Path("keys")).public_keys() if key.name == "feeder"]
    assert fingerprint(replaced.key) == old
    assert replaced.accepted_until is not None
    now = Path("keys/feeder.key").stat().st_mtime
    assert abs(replaced.accepted_until - now - seconds) < 5
    assert current.accepted_until is None


def test_rotate_has_an_overlap_of_a_day_and_removes_what_is_over(run: Run) -> None:
    run("init")
    first = printed("broker")
    assert run("rotate", "broker", "--overlap", "0s").screen[1:] == [
        f"keys: removed key {first} of broker, which was over"
    ]
    second = printed("broker")
    assert len(run("rotate", "broker").screen) == 1
    assert Path(f"keys/broker.{second}.key").exists()
    assert not Path(f"keys/broker.{first}.key").exists()


@pytest.mark.parametrize(
    "overlap", ["", "1", "h", "-1h", "1.5h", "24 h", "1w", "24H", "²h", "٣h", "1" * 13 + "s"], ids=repr
)
def test_what_is_no_overlap(run: Run, overlap: str) -> None:
    run("init")
    before = printed("feeder")
    done = run("rotate", "feeder", "--overlap", overlap)
    assert done.code == 2
    assert "is no duration such as 90s, 30m, 24h or 7d" in " ".join(done.error.replace("│", "").split())
    assert printed("feeder") == before


@pytest.mark.parametrize("overlap", ["3651d", "999999999999d", "315360001s"])
def test_an_overlap_that_does_not_end(run: Run, overlap: str) -> None:
    run("init")
    done = run("rotate", "feeder", "--overlap", overlap)
    assert done.code == 2
    assert "is longer than 3650d" in done.error
    assert run("rotate", "feeder", "--overlap", "3650d").code == 0


def test_rotate_of_nobody(run: Run) -> None:
    run("init")
    done = run("rotate", "trader")
    assert done.code == 2
    assert done.error == "error: keys/trader.key: is not there; `mycelium keys add trader` makes the first key pair\n"
    done = run("rotate", f"feeder.{printed('feeder')}")
    assert done.code == 2
    assert "lower-case letters" in done.error


# --- list ----------------------------------------------------------------------------------------


def test_list_shows_who_has_which_key_since_when(run: Run) -> None:
    run("init")
    run("rotate", "feeder", "--overlap", "2h")
    Path("keys/ledger.key_secret").unlink()
    Keyring(Path("keys")).create("stranger", 1_800_000_000)
    done = run("list", columns=120)
    assert done.code == 0
    head, *rows = done.screen
    assert re.split(r"\s{2,}", head.strip()) == ["name", "key", "since (UTC)", "state", "secret"]
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    assert [row[0] for row in cells] == [
        "broker",
        "feeder",
        "feeder",
        "ledger",
        "stranger",
        "trader_of_flash_arbitrages",
    ]
    assert [row[3].split(",")[0] for row in cells] == [
        "current", "current", "old", "current", "opens nothing: not in system.yaml", "current",
    ]  # fmt: skip
    assert [row[4] for row in cells] == ["here", "here", "not here", "not here", "here", "here"]
    assert cells[4][2] == "2027-01-15 08:00"
    assert re.fullmatch(r"old, until \d{4}-\d\d-\d\d \d\d:\d\d", cells[2][3])
    assert cells[1][1] == printed("feeder")


def test_list_says_who_has_none(run: Run) -> None:
    run("init")
    Path("keys/ledger.key").unlink()
    done = run("list")
    assert done.code == 1
    assert done.screen[-1] == "✗ ledger has no key; mycelium keys add ledger"
    assert json.loads(run("list", "--json").out)["missing"] == ["ledger"]


def test_list_as_json(run: Run) -> None:
    run("init")
    run("rotate", "feeder")
    done = run("list", "--json")
    assert done.code == 0
    said = json.loads(done.out)
    assert said["missing"] == []
    rows = {(row["name"], row["accepted_until"] is None): row for row in said["keys"]}
    assert len(rows) == 5
    assert rows["feeder", True]["fingerprint"] == printed("feeder")
    assert all(set(row) == {
        "name", "key", "created", "accepted_until", "has_secret", "fingerprint", "accepted",
    } for row in said["keys"])  # fmt: skip
    assert all(row["accepted"] for row in said["keys"])


def test_a_narrow_terminal_keeps_what_belongs_together(run: Run) -> None:
    """Fingerprints, names as far as there is room, and times, which break between day and hour."""
    Path("system.yaml").write_text(SPEC.replace("trader_of_flash_arbitrages", "flash_arbitrage"))
    run("init")
    run("rotate", "feeder")
    Keyring(Path("keys")).create("stranger", 1_800_000_000)
    done = run("list", columns=60)
    assert max(map(len, done.screen)) <= 60
    text = "\n".join(line.rstrip() for line in done.screen)
    for whole in ("flash_arbitrage", printed("flash_arbitrage"), "2027-01-15", "08:00", "system.yaml", "secret"):
        assert re.search(rf"(?<!\S){whole}(?!\S)", text), text
    assert len(re.findall(r"(?<!\S)\d{4}-\d\d-\d\d(?!\S)", text)) == 7


def test_a_very_narrow_terminal_shows_less_and_no_half_words(run: Run) -> None:
    Path("system.yaml").write_text(SPEC.replace("trader_of_flash_arbitrages", "flash_arbitrage"))
    run("init")
    done = run("list", columns=48)
    rows = [line.split() for line in done.screen if line.strip()]
    assert rows[0] == ["name", "key", "since", "state"]
    assert all(len(row) == 4 and row[3] == "current" for row in rows[1:]), done.screen


@pytest.mark.parametrize("created", ["[/x]", "[red]soon[/]", "[link=file:///x]y[/link]"])
def test_what_a_file_says_is_not_taken_for_markup(run: Run, created: str) -> None:
    run("init")
    path = Path("keys/feeder.key")
    path.write_text(re.sub(r'created = ".*"', f'created = "{created}"', path.read_text()))
    done = run("list")
    assert done.code == 0
    assert created[:16] in done.out


def test_nor_is_what_a_path_says(run: Run) -> None:
    assert run("init", "--keys", "a[b").code == 0
    assert run("add", "feeder", "--keys", "[/]").out.startswith("[/]: feeder has key")
    assert run("rotate", "feeder", "--keys", "[/]", "--overlap", "0s").out.count("[/]: ") == 2
    assert run("init", "--keys", "[/]").out.startswith("[/]: made keys")
    assert run("init", "--keys", "[/]").out == "[/]: everybody has keys already\n"


# --- what is wrong -------------------------------------------------------------------------------


def test_keys_that_are_nowhere(run: Run) -> None:
    done = run("list")
    assert (done.code, done.error) == (
        2, "error: keys: cannot be read: No such file or directory; `mycelium keys init` makes it\n",
    )  # fmt: skip


@pytest.mark.parametrize("command", [["init"], ["list"]])
def test_a_wrong_file_among_the_keys(run: Run, command: list[str]) -> None:
    run("init")
    Path("keys/feeder.key").write_text("nothing\n")
    done = run(*command)
    assert (done.code, done.error) == (2, 'error: keys/feeder.key: has no line public-key = "..."\n')


@pytest.mark.parametrize("command", [["init"], ["list"], ["add", "feeder"], ["rotate", "feeder"]])
def test_a_file_where_the_directory_should_be(run: Run, command: list[str]) -> None:
    Path("keys").touch()
    done = run(*command)
    assert done.code in (1, 2)
    assert done.error.startswith("error: keys")


@pytest.mark.parametrize("command", [["init"], ["add", "ledger"], ["rotate", "feeder"]])
def test_a_directory_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    run("add", "feeder")

    def refused(path: Path, *_: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refused)
    done = run(*command)
    assert done.code == 1
    assert re.fullmatch(r"error: keys/\S+: Permission denied\n", done.error)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's place")
@pytest.mark.parametrize("command", [["init"], ["add", "ledger"], ["rotate", "feeder"], ["list"]])
def test_a_directory_of_another_user(run: Run, command: list[str]) -> None:
    run("add", "feeder")
    Path("keys").chmod(0o700)
    for directory in Path.cwd().parents:
        if not directory.stat().st_mode & 0o001:
            directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o011)
    Path.cwd().chmod(0o755)
    os.seteuid(65534)
    try:
        done = run(*command)
    finally:
        os.seteuid(0)
    assert done.code in (1, 2)
    assert re.fullmatch(r"error: keys\S*: (cannot be read: )?Permission denied\n", done.error), done.error


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


@pytest.mark.parametrize("command", [["init"], ["rotate", "feeder"]])
def test_a_full_disk(run: Run, command: list[str], tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "64k") as disk:
        run("add", "feeder", "--keys", str(disk / "keys"))
        fill(disk / "filler")
        before = {path.name: path.read_bytes() for path in (disk / "keys").iterdir()}
        done = run(*command, "--keys", str(disk / "keys"))
        assert done.code == 1
        assert re.fullmatch(rf"error: {disk}/keys/\S+\.key: No space left on device\n", done.error), done.error
        assert {path.name: path.read_bytes() for path in (disk / "keys").iterdir()} == before
        (disk / "filler").unlink()
        assert run(*command, "--keys", str(disk / "keys")).code == 0


@pytest.mark.parametrize("command", ["init", "add", "rotate", "list"])
def test_help_fits_a_narrow_terminal(run: Run, command: str) -> None:
    done = run(command, "--help", columns=60)
    assert done.code == 0
    assert max(map(len, done.screen)) <= 60
