"""Keys in a directory: what is written, in which order, and that nothing but a good file is believed."""

from __future__ import annotations

import logging
import math
import os
import pprint
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zmq
import zmq.auth
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from mycelium.core.errors import ConfigError
from mycelium.transport import keyring as module
from mycelium.transport.curve import client_options, server_options
from mycelium.transport.keyring import Credentials, KeyPair, Keyring, PublicKey, encoded_key, fingerprint

NOW = 1_800_000_000.0
HOUR = 3_600.0


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(keyring: Keyring) -> list[str]:
    return sorted(path.name for path in keyring.directory.iterdir())


def complaint(keyring: Keyring, name: str = "trader") -> str:
    """What is said of a directory in which something is wrong."""

    def read() -> None:
        keyring.holders(NOW)
        keyring.credentials(name, NOW)

    with pytest.raises(ConfigError) as caught:
        read()
    (problem,) = caught.value.problems
    return str(problem).removeprefix(f"{keyring.directory}/").removeprefix(f"{keyring.directory}: ")


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777], indirect=True, ids=oct)
def test_files_have_their_modes_whatever_the_umask(keyring: Keyring, umask: int) -> None:
    keyring.create("trader", NOW)
    keyring.rotate("trader", HOUR, NOW)
    assert mode(keyring.directory) == 0o700
    assert {path.suffix: mode(path) for path in keyring.directory.iterdir()} == {".key": 0o644, ".key_secret": 0o600}


def test_a_directory_that_is_there_stays_as_it_is(keyring: Keyring) -> None:
    keyring.directory.mkdir(mode=0o750)
    keyring.create("trader", NOW)
    assert mode(keyring.directory) == 0o750


def test_a_secret_is_never_in_a_file_that_others_may_read(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mode is right before there is anything in it."""
    seen: list[tuple[int, int]] = []

    def observe(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, stat.S_IMODE(os.fstat(descriptor).st_mode)))

    opened = os.open

    def open_and_observe(path: Path, flags: int, wanted: int) -> int:
        descriptor = opened(path, flags, wanted)
        observe(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_observe)
    monkeypatch.setattr(os, "fsync", observe)
    keyring.create("trader", NOW)
    empty_public, whole_public, empty_secret, whole_secret = seen
    assert (empty_public[0], whole_public[1]) == (0, 0o644)
    assert empty_secret[0] == 0
    assert empty_secret[1] & 0o077 == 0
    assert whole_secret[0] > 0
    assert whole_secret[1] == 0o600


def test_other_tools_read_both_files(keyring: Keyring) -> None:
    pair = keyring.create("trader", NOW)
    keyring.create("broker", NOW)
    both = zmq.auth.load_certificate(keyring.directory / "trader.key_secret")
    assert both == (pair.public.encode(), pair.secret.encode())
    assert zmq.auth.load_certificate(keyring.directory / "trader.key") == (pair.public.encode(), None)
    rotated = keyring.rotate("trader", HOUR, NOW)
    (old,) = keyring.directory.glob("trader.*.key")
    assert zmq.auth.load_certificate(old) == (pair.public.encode(), None)
    assert zmq.auth.load_certificates(keyring.directory) == {
        key.encode(): True for key in (pair.public, rotated.public, keyring.pair("broker").public)
    }


def test_what_other_tools_make_is_read(keyring: Keyring) -> None:
    keyring.create("broker", NOW)
    _, secret = zmq.auth.create_certificates(keyring.directory, "trader", {"name": "the trader"})
    Path(secret).chmod(0o600)
    pair = keyring.pair("trader")
    assert keyring.holders(NOW) == {pair.public: "trader"}
    assert pair.public == zmq.curve_public(pair.secret.encode()).decode()


@pytest.mark.parametrize(
    "name", ["", "Trader", "a.b", "../a", "a/b", "a b", "a\n", "ä", "[red]", "x" * 129], ids=lambda name: repr(name[:9])
)
def test_what_is_no_name_is_refused_and_nothing_is_written(keyring: Keyring, name: str) -> None:
    with pytest.raises(ConfigError, match="up to 128 lower-case letters, digits, _ and - are accepted"):
        keyring.create(name, NOW)
    with pytest.raises(ConfigError, match="up to 128 lower-case letters, digits, _ and - are accepted"):
        keyring.rotate(name, HOUR, NOW)
    assert not keyring.directory.exists()


def test_an_old_key_is_not_rotated_as_if_it_were_somebody(keyring: Keyring) -> None:
    """It would get a file without an end, and its holder a second key for ever."""
    first = keyring.create("trader", NOW)
    keyring.rotate("trader", HOUR, NOW)
    before = names(keyring)
    with pytest.raises(ConfigError, match="the name"):
        keyring.rotate(f"trader.{fingerprint(first.public)}", HOUR, NOW)
    assert names(keyring) == before


@pytest.mark.parametrize("there", ["trader.key", "trader.key_secret"])
def test_nothing_is_overwritten(keyring: Keyring, there: str) -> None:
    keyring.directory.mkdir()
    path = keyring.directory / there
    path.write_text("mine")
    with pytest.raises(ConfigError, match=rf"{there}: is there already; `mycelium keys rotate trader` replaces it"):
        keyring.create("trader", NOW)
    assert path.read_text() == "mine"
    assert names(keyring) == [there]


def test_there_is_nothing_to_rotate(keyring: Keyring) -> None:
    keyring.create("other", NOW)
    with pytest.raises(ConfigError, match=r"trader.key: is not there; `mycelium keys add trader` makes the first"):
        keyring.rotate("trader", HOUR, NOW)
    assert names(keyring) == ["other.key", "other.key_secret"]


# --- rotation ------------------------------------------------------------------------------------


def test_both_keys_are_accepted_until_the_overlap_is_over(keyring: Keyring) -> None:
    old = keyring.create("trader", NOW)
    new = keyring.rotate("trader", HOUR, NOW)
    assert keyring.pair("trader") == new
    assert new.public != old.public
    both = {old.public: "trader", new.public: "trader"}
    assert keyring.holders(NOW) == both
    assert keyring.holders(NOW + HOUR - 1) == both
    assert keyring.holders(NOW + HOUR) == {new.public: "trader"}
    current, over = keyring.public_keys()
    assert (current.key, current.accepted_until, current.has_secret) == (new.public, None, True)
    assert (over.name, over.key, over.accepted_until) == ("trader", old.public, NOW + HOUR)
    assert (current.created, over.created) == ("2027-01-15T08:00:00+00:00",) * 2


def test_an_overlap_of_nothing_ends_what_was_replaced_before_too(keyring: Keyring) -> None:
    """Whoever asks for that has lost a key, and may not know which."""
    keyring.create("trader", NOW)
    keyring.create("trader-2", NOW)
    keyring.rotate("trader", 86_400, NOW)
    keyring.rotate("trader-2", 86_400, NOW)
    last = keyring.rotate("trader", 0, NOW + 1)
    accepted = {key: name for key, name in keyring.holders(NOW + 2).items() if name == "trader"}
    assert accepted == {last.public: "trader"}
    assert list(keyring.holders(NOW + 2).values()).count("trader-2") == 2, "another's are its own"


def test_an_overlap_of_nothing_ends_the_old_key_at_once(keyring: Keyring) -> None:
    keyring.create("trader", NOW)
    new = keyring.rotate("trader", 0, NOW + 0.7)
    assert keyring.holders(NOW + 0.7) == {new.public: "trader"}


def test_keys_that_are_over_are_forgotten_and_no_other(keyring: Keyring) -> None:
    first = keyring.create("trader", NOW)
    keyring.create("other", NOW)
    second = keyring.rotate("trader", HOUR, NOW)
    third = keyring.rotate("trader", 2 * HOUR, NOW)
    assert keyring.forget(NOW + HOUR - 1) == []
    assert [key.key for key in keyring.forget(NOW + HOUR)] == [first.public]
    assert [key.key for key in keyring.public_keys() if key.name == "trader"] == [third.public, second.public]
    assert [key.key for key in keyring.forget(NOW + 2 * HOUR)] == [second.public]
    assert keyring.forget(math.inf) == []
    assert names(keyring) == ["other.key", "other.key_secret", "trader.key", "trader.key_secret"]


def test_a_client_knows_the_brokers_keys_the_newest_first(keyring: Keyring) -> None:
    keyring.create("trader", NOW)
    first = keyring.create("broker", NOW)
    second = keyring.rotate("broker", HOUR, NOW + 10)
    third = keyring.rotate("broker", HOUR, NOW + 20)
    at = NOW + 30
    assert keyring.credentials("trader", at).servers == (third.public, second.public, first.public)
    assert keyring.credentials("trader", NOW + HOUR + 15).servers == (third.public, second.public)
    assert "broker" not in keyring.holders(at).values()


class Killed(BaseException):
    """No cleanup comes after it."""


@pytest.mark.parametrize("how", ["before it is in place", "after it is in place"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_whenever_a_rotation_is_killed_its_holder_has_a_key_that_is_accepted(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, number: int, how: str
) -> None:
    old = keyring.create("trader", NOW)
    keyring.create("broker", NOW)
    replace, calls = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == number and how.startswith("before"):
            raise Killed
        done = replace(path, target)
        if calls == number:
            raise Killed
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            keyring.rotate("trader", HOUR, NOW)
    holders = keyring.holders(NOW)
    assert holders[old.public] == "trader", "whoever has the old key still comes in"
    assert keyring.credentials("trader", NOW).pair.public in holders, "and so does whoever starts now"
    # It is done once more, and all is as if it had been done once.
    new = keyring.rotate("trader", HOUR, NOW)
    assert keyring.credentials("trader", NOW).pair == new
    assert {old.public, new.public} <= set(keyring.holders(NOW))
    assert list(keyring.holders(NOW + HOUR)) == [new.public]
    keyring.forget(NOW + HOUR)
    assert [key.key for key in keyring.public_keys() if key.name == "trader"] == [new.public]


@pytest.mark.parametrize("number", [1, 2])
def test_whenever_the_first_pair_is_killed_a_rotation_mends_it(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write, calls = module._write, 0

    def killed(path: Path, text: str, wanted: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise Killed
        write(path, text, wanted)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write", killed)
        with pytest.raises(Killed):
            keyring.create("trader", NOW)
    again = keyring.create if number == 1 else lambda name, now: keyring.rotate(name, 0, now)
    pair = again("trader", NOW)
    assert keyring.pair("trader") == pair
    assert keyring.holders(NOW) == {pair.public: "trader"}


def test_a_write_that_fails_names_its_file_and_leaves_nothing(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keyring.create("trader", NOW)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        keyring.rotate("trader", HOUR, NOW)
    assert Path(caught.value.filename).name == f"trader.{fingerprint(old.public)}.key"
    assert names(keyring) == ["trader.key", "trader.key_secret"]
    assert keyring.pair("trader") == old


# --- what is wrong -------------------------------------------------------------------------------


def test_two_holders_of_one_key_are_refused(keyring: Keyring) -> None:
    keyring.create("trader", NOW)
    keyring.create("broker", NOW)
    (keyring.directory / "feeder.key").write_bytes((keyring.directory / "trader.key").read_bytes())
    assert complaint(keyring) == "feeder and trader have the same key; each needs its own"


def test_an_old_key_of_one_is_not_the_key_of_another(keyring: Keyring) -> None:
    keyring.create("trader", NOW)
    keyring.create("broker", NOW)
    (keyring.directory / "feeder.key").write_bytes((keyring.directory / "trader.key").read_bytes())
    keyring.rotate("trader", HOUR, NOW)
    assert complaint(keyring) == "feeder and trader have the same key; each needs its own"
    assert list(keyring.holders(NOW + HOUR).values()) == ["feeder", "trader"], "it is over"


PUBLIC_LINE = r"has no line public-key"
WRONG = {
    "empty": ("trader.key", r"(?s).*", "", PUBLIC_LINE),
    "no quotes": ("trader.key", r'public-key = "(.*)"', r"public-key = \1", PUBLIC_LINE),
    "commented": ("trader.key", r"    public-key", "  # public-key", PUBLIC_LINE),
    "short": ("trader.key", r'public-key = ".', 'public-key = "', "its public-key has 39 characters or is not Z85"),
    "long": ("trader.key", r'public-key = "', 'public-key = "x', "its public-key has 41 characters or is not Z85"),
    "no Z85": ("trader.key", r'public-key = ".', 'public-key = "~', "its public-key has 40 characters or is not Z85"),
    "too large a number": (
        "trader.key",
        r'public-key = ".{40}',
        f'public-key = "{"#" * 40}',
        "its public-key has 40 characters or is not Z85",
    ),
    "not ASCII": ("trader.key", r"metadata", "metadatä", "is no key file: byte 41 is not ASCII"),
    "of the broker": ("broker.key", r"public-key", "key", PUBLIC_LINE),
    "no secret": ("trader.key_secret", r"secret-key", "key", r'has no line secret-key = "..."'),
    "short secret": ("trader.key_secret", r'secret-key = ".', 'secret-key = "', "its secret-key has 39 characters"),
    "secret no Z85": (
        "trader.key_secret",
        r'secret-key = ".{40}',
        f'secret-key = "{"#" * 40}',
        "its secret-key has 40 characters or is not Z85",
    ),
    "another pair": (
        "trader.key_secret",
        r'public-key = ".{40}',
        f'public-key = "{"a" * 40}',
        "its public key does not belong to its secret key; `mycelium keys rotate` makes a pair",
    ),
    "no public in secret": ("trader.key_secret", r"public-key", "key", "its public key does not belong to its secret"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_each_wrong_file_is_named_with_what_is_right(keyring: Keyring, case: tuple[str, str, str, str]) -> None:
    name, old, new, said = case
    keyring.create("broker", NOW)
    pair = keyring.create("trader", NOW)
    path = keyring.directory / name
    changed, number = re.subn(old, new, path.read_text(), count=1)
    assert number
    path.write_text(changed)
    found = complaint(keyring)
    assert found.startswith(f"{name}: {said}"), found
    assert pair.secret not in found


ENDS = {
    "no time": ('"tomorrow"', "accepted-until = 'tomorrow' is no time such as 2027-01-31T12:00:00+00:00"),
    "no zone": ('"2027-01-31T12:00:00"', "is no time such as 2027-01-31T12:00:00+00:00"),
    "no quotes": ("2027-01-31T12:00:00+00:00", 'has no line accepted-until = "..."'),
    "empty": ('""', "accepted-until = '' is no time"),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS.keys())
def test_an_old_key_that_does_not_say_when_it_ends_is_refused(keyring: Keyring, case: tuple[str, str]) -> None:
    """Above all it is not accepted for ever."""
    text, said = case
    keyring.create("broker", NOW)
    old = keyring.create("trader", NOW)
    keyring.rotate("trader", HOUR, NOW)
    path = keyring.directory / f"trader.{fingerprint(old.public)}.key"
    path.write_text(re.sub(r'(accepted-until = )".*"', rf"\1{text}", path.read_text()))
    found = complaint(keyring)
    assert found.startswith(f"{path.name}: ")
    assert said in found


def test_what_is_missing_is_named(keyring: Keyring, tmp_path: Path) -> None:
    assert complaint(keyring) == "cannot be read: No such file or directory; `mycelium keys init` makes it"
    keyring.directory.mkdir()
    assert complaint(keyring) == "broker.key: is missing: copy the broker's public key there"
    keyring.create("broker", NOW)
    missing = "trader.key_secret: cannot be read: No such file or directory; `mycelium keys add trader` makes one"
    assert complaint(keyring) == missing
    (keyring.directory / "trader.key").mkdir()
    assert complaint(keyring) == "trader.key: cannot be read: Is a directory"


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch()
    assert complaint(Keyring(path)) == "cannot be read: Not a directory"


def test_a_long_name_is_a_name(keyring: Keyring) -> None:
    """Of a file beside which none with a longer ending can be."""
    keyring.create("broker", NOW)
    name = "x" * 250
    (keyring.directory / f"{name}.key").write_text((keyring.directory / "broker.key").read_text())
    assert [key.has_secret for key in keyring.public_keys() if key.name == name] == [False]


def _sample() -> dict[str, bytes]:
    """The files of a broker, of a service and of a key of it that was replaced."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        keyring = Keyring(Path(directory))
        for name in ("broker", "trader"):
            keyring.create(name, NOW)
        keyring.rotate("trader", HOUR, NOW)
        return {path.name: path.read_bytes() for path in keyring.directory.iterdir()}


SAMPLE = _sample()
OLD = re.search(rb'public-key = "(.*)"', next(data for name, data in SAMPLE.items() if name.count(".") == 2))[
    1
].decode()  # type: ignore[index]
SECRET = re.search(rb'secret-key = "(.*)"', SAMPLE["trader.key_secret"])[1].decode()  # type: ignore[index]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the sample in which something is another."""
    name = draw(st.sampled_from(sorted(SAMPLE)))
    data = SAMPLE[name]
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 5, 40, 400])))
        filling = st.binary(max_size=6) | st.sampled_from([b"#" * 40, b'"', b"\n", b"public-key", b"\0", b'""', b"="])
        data = data[:start] + draw(filling) + data[end:]
    return name, data


@given(mutated())
@example(("trader.key_secret", SAMPLE["trader.key_secret"].replace(SECRET.encode(), b"#" * 40)))
@example(("broker.key", SAMPLE["broker.key"][:-3]))
@settings(max_examples=300)
def test_whatever_is_in_a_file_it_is_a_good_key_or_a_sentence_that_names_it(
    tmp_path_factory: pytest.TempPathFactory, found: tuple[str, bytes]
) -> None:
    name, data = found
    keyring = Keyring(tmp_path_factory.getbasetemp() / "mutated")
    keyring.directory.mkdir(exist_ok=True)
    for other, content in {**SAMPLE, name: data}.items():
        (keyring.directory / other).write_bytes(content)
        (keyring.directory / other).chmod(0o600)
    try:
        holders = keyring.holders(NOW)
        credentials = keyring.credentials("trader", NOW)
    except ConfigError as error:
        text = str(error)
        assert name in text or "same key" in text
        assert SECRET not in text
        # Nor a part of it.
        assert not any(SECRET[start : start + 12] in text for start in range(len(SECRET) - 12))
        return
    # What is believed can be used.
    for key in holders:
        assert re.fullmatch(r"\S{40}", key)
    ends = [key.accepted_until for key in keyring.public_keys() if key.key == OLD]
    assert ends in ([NOW + HOUR], []) or (name.startswith("trader.") and None not in ends)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        for server in credentials.servers:
            for option, value in client_options(credentials, server).items():
                socket.setsockopt(option, value)


# --- who may read a secret -----------------------------------------------------------------------

NOBODY = 65534


@pytest.mark.parametrize("bits", [0o400, 0o600, 0o700])
def test_a_secret_of_ones_own(keyring: Keyring, bits: int) -> None:
    pair = keyring.create("trader", NOW)
    (keyring.directory / "trader.key_secret").chmod(bits)
    assert keyring.pair("trader") == pair


@pytest.mark.parametrize("bits", [0o604, 0o602, 0o601, 0o640, 0o620, 0o610, 0o644, 0o660, 0o777, 0o666])
def test_a_secret_of_ones_own_that_others_may_have(keyring: Keyring, bits: int) -> None:
    keyring.create("trader", NOW)
    path = keyring.directory / "trader.key_secret"
    path.chmod(bits)
    with pytest.raises(ConfigError) as caught:
        keyring.pair("trader")
    said = f"{path}: has mode {bits:04o}: others may read or write a secret key; chmod 600 it"
    assert str(caught.value) == said


def as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that the file does not belong to: a secret store made it."""
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o440])
def test_a_secret_store_may_let_a_process_read_through_its_group(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    pair = keyring.create("trader", NOW)
    (keyring.directory / "trader.key_secret").chmod(bits)
    as_somebody_else(monkeypatch)
    assert keyring.pair("trader") == pair


@pytest.mark.parametrize("bits", [0o644, 0o660, 0o604, 0o650, 0o641])
def test_but_nobody_else_nor_write(keyring: Keyring, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    keyring.create("trader", NOW)
    (keyring.directory / "trader.key_secret").chmod(bits)
    as_somebody_else(monkeypatch)
    with pytest.raises(ConfigError, match=f"has mode {bits:04o}: others may read or write a secret key"):
        keyring.pair("trader")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and takes another user's place")
def test_a_secret_of_another_user_really(keyring: Keyring) -> None:
    pair = keyring.create("trader", NOW)
    path = keyring.directory / "trader.key_secret"
    os.chown(path, NOBODY, 0)
    path.chmod(0o640)
    assert keyring.pair("trader") == pair, "root, whose file it is not"
    for directory in (keyring.directory, *keyring.directory.parents):
        if directory.stat().st_uid == 0 and not mode(directory) & 0o001:
            directory.chmod(mode(directory) | 0o011)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(ConfigError, match="has mode 0640"):
            keyring.pair("trader")
        os.seteuid(0)
        path.chmod(0o600)
        os.seteuid(NOBODY)
        assert keyring.pair("trader") == pair
        os.seteuid(0)
        os.chown(path, 0, 0)
        os.seteuid(NOBODY)
        with pytest.raises(ConfigError, match="key_secret: cannot be read: Permission denied"):
            keyring.pair("trader")
    finally:
        os.seteuid(0)


def test_a_secret_is_not_shown(keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    keyring.create("broker", NOW)
    pair = keyring.create("trader", NOW)
    credentials = keyring.credentials("trader", NOW)
    logging.getLogger("x").warning("%s %r", pair, credentials)
    shown = (
        repr(pair),
        str(credentials),
        f"{credentials}",
        repr([credentials]),
        repr({"x": pair}),
        pprint.pformat(credentials),
        pretty_repr(credentials),
        str(ValueError(pair)),
        caplog.text,
        repr(keyring.public_keys()),
        str(keyring.state()),
    )
    for text in shown:
        assert pair.secret not in text
    assert pair.public in repr(credentials)


# --- changes -------------------------------------------------------------------------------------


def test_each_change_is_seen(keyring: Keyring) -> None:
    states = [keyring.state()]

    def changed(what: str) -> None:
        state = keyring.state()
        assert state not in states, what
        assert keyring.state() == state
        states.append(state)

    assert states == [{}]
    keyring.create("trader", NOW)
    changed("created")
    keyring.rotate("trader", 0, NOW)
    changed("rotated")
    (keyring.directory / "trader.key_secret").chmod(0o640)
    changed("a mode, by which it is not read any more")
    (keyring.directory / "trader.key_secret").chmod(0o600)
    changed("and back again")
    keyring.forget(NOW)
    changed("forgotten")
    (keyring.directory / "trader.key_secret").unlink()
    changed("gone")
    (keyring.directory / "notes.txt").touch()
    assert keyring.state() == states[-1], "what is no key"


def test_a_secret_store_that_changes_where_its_links_lead_is_seen(keyring: Keyring, tmp_path: Path) -> None:
    """As Kubernetes does it: what is in the directory stays, and what it leads to is another."""
    first, second = Keyring(tmp_path / "first"), Keyring(tmp_path / "second")
    pairs = [each.create("trader", NOW) for each in (first, second)]
    keyring.directory.mkdir()
    data = keyring.directory / "..data"
    data.symlink_to(first.directory)
    for name in ("trader.key", "trader.key_secret"):
        (keyring.directory / name).symlink_to(Path("..data") / name)
    before = keyring.state()
    assert keyring.pair("trader") == pairs[0]
    new = keyring.directory / "..data_tmp"
    new.symlink_to(second.directory)
    new.replace(data)
    assert keyring.pair("trader") == pairs[1]
    assert keyring.state() != before
    assert keyring.holders(NOW) == {pairs[1].public: "trader"}


@pytest.mark.parametrize("gone", ["trader.key", "trader.*.key", "broker.key"])
def test_a_key_that_goes_while_the_keys_are_read_is_not_there(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Another process forgets old keys, or replaces the directory."""
    for name in ("broker", "trader", "zebra"):
        keyring.create(name, NOW)
    keyring.rotate("trader", HOUR, NOW)
    (victim,) = keyring.directory.glob(gone)
    expected = [key.key for key in keyring.public_keys() if key.key not in victim.read_text()]
    read = Path.read_text

    def read_late(path: Path, **options: str) -> str:
        victim.unlink(missing_ok=True)
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", read_late)
    assert [key.key for key in keyring.public_keys()] == expected


def test_a_link_that_leads_nowhere_is_said(keyring: Keyring) -> None:
    keyring.create("broker", NOW)
    (keyring.directory / "trader.key").symlink_to("nowhere")
    assert complaint(keyring) == "trader.key: cannot be read: No such file or directory"
    assert keyring.state() == {}, "whoever reads the keys says what is wrong"


def test_a_directory_that_comes_and_goes(keyring: Keyring) -> None:
    assert keyring.state() == {}
    with pytest.raises(ConfigError, match="cannot be read"):
        keyring.public_keys()
    keyring.create("trader", NOW)
    assert len(keyring.state()) == 2
    aside = keyring.directory.rename(keyring.directory.with_name("aside"))
    assert keyring.state() == {}
    aside.rename(keyring.directory)
    assert len(keyring.state()) == 2


def test_what_a_write_leaves_behind_when_it_is_killed_is_no_key(keyring: Keyring) -> None:
    keyring.create("trader", NOW)
    before = keyring.public_keys(), keyring.state()
    (keyring.directory / ".trader.key.1234abcd").write_text("half")
    (keyring.directory / ".trader.key_secret.1234abcd").write_text("half")
    assert (keyring.public_keys(), keyring.state()) == before


# --- small things --------------------------------------------------------------------------------


def test_what_is_accepted_when() -> None:
    assert PublicKey("a", "k", "", None, has_secret=False).is_accepted(math.inf)
    ending = PublicKey("a", "k", "", 10.0, has_secret=False)
    assert [ending.is_accepted(now) for now in (9.9, 10.0)] == [True, False]


def test_a_key_of_32_bytes_is_the_text_that_libzmq_has_for_it() -> None:
    public, _ = zmq.curve_keypair()
    assert encoded_key(zmq.utils.z85.decode(public)) == public.decode()


def test_a_fingerprint_tells_keys_apart_and_fits_into_a_file_name() -> None:
    keys = [zmq.curve_keypair()[0].decode() for _ in range(50)]
    prints = {fingerprint(key) for key in keys}
    assert len(prints) == 50
    assert all(re.fullmatch(r"[0-9a-f]{12}", found) for found in prints)


def test_options_are_what_libzmq_takes() -> None:
    """Both sides, over the wire: without anybody who answers its questions the server lets nobody in."""
    server, client = (
        KeyPair(*(key.decode() for key in zmq.curve_keypair())),
        KeyPair(*(key.decode() for key in zmq.curve_keypair())),
    )
    with zmq.Context() as context, context.socket(zmq.ROUTER) as here, context.socket(zmq.DEALER) as there:
        here.linger = there.linger = 0
        for option, value in server_options(server).items():
            here.setsockopt(option, value)
        for option, value in client_options(Credentials("a", client, (server.public,)), server.public).items():
            there.setsockopt(option, value)
        assert (here.mechanism, there.mechanism) == (zmq.CURVE, zmq.CURVE)
        there.connect(f"tcp://127.0.0.1:{here.bind_to_random_port('tcp://127.0.0.1')}")
        there.send(b"x")
        assert not here.poll(150)


def test_the_time_is_that_of_all(keyring: Keyring) -> None:
    keyring.create("trader", NOW)
    keyring.rotate("trader", HOUR, NOW)
    (old,) = keyring.directory.glob("trader.*.key")
    end = datetime.fromtimestamp(NOW + HOUR, UTC).isoformat()
    assert f'accepted-until = "{end}"' in old.read_text()
