"""What a guard lets through, said by said; it is asked without any socket."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.core.access import Access, Entry, Rights
from mycelium.core.delivery.control import (
    Alive,
    Announce,
    AskBooks,
    AskMarks,
    AskReaders,
    AskWho,
    Fetch,
    FromClient,
    Join,
    Leave,
    Probe,
    Report,
    probe_frame,
)
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.delivery.sharing import Progress, Released
from mycelium.core.envelope import source_id
from mycelium.core.errors import AccessError, WireError
from mycelium.core.topics import Pattern
from mycelium.transport import guard as guards
from mycelium.transport.guard import (
    FOREIGN_NAME,
    NO_OPERATOR,
    NOT_PUBLISHED,
    NOT_READ,
    REVOKED,
    Guard,
    name_of,
    own_name,
    user_of,
    without,
)

TICK, ORDER = 100, 200
TICKS, ORDERS = Entry(TICK, Pattern.parse("ticks.*")), Entry(ORDER, Pattern.parse("orders.*"))

FEEDER, TRADER, LEDGER = (user_of(name, "0123456789ab") for name in ("feeder", "trader", "ledger"))
OTHER_KEY = user_of("trader", "fedcba987654")
STRANGER = user_of("stranger", "0123456789ab")
USERS = (FEEDER, TRADER, LEDGER)

RULES = Access(
    {
        "feeder": Rights(publishes=(TICKS,)),
        "trader": Rights(publishes=(ORDERS,), subscribes=(TICKS,)),
        "ledger": Rights(is_operator=True),
    }
)


@dataclass
class Counting(Access):
    """Counts how often it is asked."""

    asked: int = field(default=0, init=False)

    def __init__(self) -> None:
        super().__init__({"trader": RULES.rights("trader")})
        self.asked = 0

    def may_publish(self, name: str, type_id: int, topic: str) -> bool:
        self.asked += 1
        return super().may_publish(name, type_id, topic)

    def may_read(self, name: str, type_id: int, topic: str) -> bool:
        self.asked += 1
        return super().may_read(name, type_id, topic)


@pytest.fixture
def guard() -> Guard:
    return Guard(RULES, USERS)


def key(name: str, topic: str = "orders.x") -> StreamKey:
    return StreamKey(source_id(name), 1, topic)


def join(name: str = "trader.on_tick", type_id: int = TICK, patterns: tuple[str, ...] = ("ticks.*",)) -> Join:
    return Join(1, name, type_id, patterns, Start.EARLIEST)


def test_a_user_is_a_name_and_a_key() -> None:
    assert TRADER == "trader#0123456789ab"
    assert name_of(TRADER) == name_of(OTHER_KEY) == "trader"
    assert name_of("") == ""
    assert without([FEEDER, TRADER, OTHER_KEY], "trader") == [TRADER, OTHER_KEY]


# --- publishing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "source", "type_id", "topic", "why"),
    [
        (FEEDER, "feeder", TICK, "ticks.x", None),
        (FEEDER, "feeder", TICK, "orders.x", NOT_PUBLISHED),
        (FEEDER, "feeder", ORDER, "ticks.x", NOT_PUBLISHED),
        (FEEDER, "feeder", TICK, "_sys.tick.trader", NOT_PUBLISHED),
        (FEEDER, "trader", TICK, "ticks.x", FOREIGN_NAME),
        (LEDGER, "ledger", TICK, "ticks.x", NOT_PUBLISHED),
        (OTHER_KEY, "trader", ORDER, "orders.x", REVOKED),
        (STRANGER, "stranger", TICK, "ticks.x", REVOKED),
        ("", "feeder", TICK, "ticks.x", REVOKED),
        ("feeder", "feeder", TICK, "ticks.x", REVOKED),
    ],
)
def test_a_frame(guard: Guard, user: str, source: str, type_id: int, topic: str, why: str | None) -> None:
    for _ in range(2):  # the second one is remembered
        assert guard.why_not_publish(user, source_id(source), type_id, topic) == why


# --- subscribing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "prefix", "may"),
    [
        (TRADER, b"ticks.", True),
        (TRADER, b"ticks.x\0", True),
        (TRADER, b"ticks", False),
        (TRADER, b"", False),
        (TRADER, b"orders.", False),
        (TRADER, b"_sys.tick.trader\0", True),
        (TRADER, b"_sys.tick.trader", False),
        (TRADER, b"_sys.tick.feeder\0", False),
        (TRADER, b"_sys.tick\0", False),
        (TRADER, b"_sys.", False),
        (TRADER, probe_frame(0xABC), True),
        (TRADER, b"_sys.probe.", False),
        (TRADER, b"_sys.probe.a", False),
        (TRADER, b"_sys.probe.\0", False),
        (TRADER, b"_sys.probe.a\0b\0", False),
        (TRADER, b"_sys.probe.g\0", False),
        (FEEDER, b"ticks.", False),
        (FEEDER, b"_sys.tick.feeder\0", True),
        (OTHER_KEY, b"ticks.", False),
        (OTHER_KEY, probe_frame(1), False),
        ("", probe_frame(1), False),
        ("", b"_sys.tick.\0", False),
    ],
)
def test_a_prefix(guard: Guard, user: str, prefix: bytes, may: bool) -> None:
    assert guard.may_subscribe(user, prefix) == may


@given(st.binary(max_size=12))
def test_no_prefix_of_the_fabrics_own_brings_more_than_one_probe(tail: bytes) -> None:
    guard = Guard(RULES, USERS)
    prefix = b"_sys.probe." + tail
    if guard.may_subscribe(TRADER, prefix):
        assert probe_frame(int(tail[:-1], 16)).lstrip(b"0") != b""
        assert tail.endswith(b"\0")
        assert tail.count(b"\0") == 1


# --- asking --------------------------------------------------------------------------------------

ALLOWED: list[tuple[str, FromClient]] = [
    (TRADER, Alive(("trader",), (1,))),
    (TRADER, Alive(())),
    (TRADER, Announce(key("trader"), 1, 1)),
    (TRADER, Probe(1)),
    (TRADER, AskMarks(1, 1, TICK, ("ticks.*", "ticks.x"))),
    (TRADER, Fetch(1, key("feeder", "ticks.x"), 1, 1)),
    (TRADER, AskReaders()),
    (TRADER, Progress(1, 1, ())),
    (TRADER, Released(1, ())),
    (LEDGER, AskBooks(0)),
    (LEDGER, AskWho(0)),
]

REFUSED: list[tuple[str, FromClient, str]] = [
    (TRADER, Alive(("feeder",)), FOREIGN_NAME),
    (TRADER, Alive(("trader", "feeder")), FOREIGN_NAME),
    (TRADER, Announce(key("feeder"), 1, 1), FOREIGN_NAME),
    (TRADER, join(type_id=ORDER), NOT_READ),
    (TRADER, join(patterns=(">",)), NOT_READ),
    (TRADER, join(patterns=()), NOT_READ),
    (FEEDER, join("feeder.on_tick"), NOT_READ),
    (TRADER, AskMarks(1, 1, ORDER, ("orders.*",)), NOT_READ),
    (TRADER, AskMarks(1, 1, TICK, ()), NOT_READ),
    (LEDGER, AskMarks(1, 1, TICK, ("ticks.*",)), NOT_READ),
    (TRADER, AskBooks(0), NO_OPERATOR),
    (TRADER, AskWho(0), NO_OPERATOR),
]

EVERYTHING = [said for _, said in ALLOWED] + [said for _, said, _ in REFUSED]
EVERYTHING += [join(), Leave(1, "trader.on_tick"), Report(1, "trader.on_tick", 1, False, ())]


@pytest.mark.parametrize(("user", "said"), ALLOWED, ids=repr)
def test_what_may_be_said_is_left_as_it_is(guard: Guard, user: str, said: FromClient) -> None:
    assert guard.judged(user, said) is said


@pytest.mark.parametrize(("user", "said", "cause"), REFUSED, ids=repr)
def test_what_may_not_be_said(guard: Guard, user: str, said: FromClient, cause: str) -> None:
    with pytest.raises(AccessError) as refused:
        guard.judged(user, said)
    assert refused.value.cause == cause


@pytest.mark.parametrize("user", [OTHER_KEY, STRANGER, "", "trader", "trader#", "#0123456789ab"])
def test_whose_key_is_not_accepted_may_say_nothing(guard: Guard, user: str) -> None:
    for said in EVERYTHING:
        with pytest.raises(AccessError) as refused:
            guard.judged(user, said)
        assert refused.value.cause == REVOKED


@pytest.mark.parametrize(
    "said",
    [join("reader"), Leave(1, "reader"), Report(1, "reader", 1, True, ())],
    ids=["join", "leave", "report"],
)
def test_a_reader_is_its_services_own(guard: Guard, said: Join | Leave | Report) -> None:
    assert guard.judged(TRADER, said) == msgspec.structs.replace(said, name="trader/reader")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("trader.on_tick", "trader.on_tick"),
        ("trader:3", "trader:3"),
        ("trader", "trader/trader"),
        ("trader2.on_tick", "trader/trader2.on_tick"),
        ("feeder.on_tick", "trader/feeder.on_tick"),
        ("trader/reader", "trader/trader/reader"),
        ("", "trader/"),
    ],
)
def test_a_readers_name(name: str, own: str) -> None:
    assert own_name("trader", name) == own


services = st.text("ab-_", min_size=1, max_size=3)
readers = st.text("ab-_.:/", max_size=6) | st.builds("{}{}{}".format, services, st.sampled_from(".:/"), services)


@given(services, services, readers, readers)
def test_two_services_never_have_the_same_reader(one: str, other: str, mine: str, theirs: str) -> None:
    if one != other:
        assert own_name(one, mine) != own_name(other, theirs)
    elif mine != theirs:
        assert own_name(one, mine) != own_name(one, theirs)


def test_a_pattern_that_is_none_is_no_matter_of_rights(guard: Guard) -> None:
    with pytest.raises(WireError):
        guard.judged(TRADER, join(patterns=("ticks..",)))


# --- other rules ---------------------------------------------------------------------------------


def test_other_rules_count_at_once_also_for_what_was_asked_before(guard: Guard) -> None:
    asked = (TRADER, source_id("trader"), ORDER, "orders.x")
    assert guard.why_not_publish(*asked) is None
    assert guard.may_read("trader", TICK, "ticks.x")
    assert not guard.may_read("trader", ORDER, "orders.x")
    rules = Access({"trader": Rights(subscribes=(ORDERS,))})
    assert guard.renew(rules, [TRADER]) == {FEEDER, LEDGER}
    assert guard.access is rules
    assert guard.why_not_publish(*asked) == NOT_PUBLISHED
    assert not guard.may_read("trader", TICK, "ticks.x")
    assert guard.may_read("trader", ORDER, "orders.x")
    assert not guard.may_subscribe(TRADER, b"ticks.")
    assert guard.may_subscribe(TRADER, b"orders.")
    with pytest.raises(AccessError):
        guard.judged(TRADER, join())


def test_a_key_that_is_over_opens_nothing_and_a_new_one_does(guard: Guard) -> None:
    asked = (source_id("trader"), ORDER, "orders.x")
    assert guard.why_not_publish(TRADER, *asked) is None
    assert guard.renew(RULES, [FEEDER, LEDGER, OTHER_KEY]) == {TRADER}
    assert not guard.is_accepted(TRADER)
    assert guard.is_accepted(OTHER_KEY)
    assert guard.why_not_publish(TRADER, *asked) == REVOKED
    assert guard.why_not_publish(OTHER_KEY, *asked) is None
    assert not guard.may_subscribe(TRADER, b"ticks.")
    assert guard.may_subscribe(OTHER_KEY, b"ticks.")
    with pytest.raises(AccessError):
        guard.judged(TRADER, Alive(("trader",)))
    assert guard.renew(RULES, [FEEDER, LEDGER, OTHER_KEY]) == set()


def test_verdicts_are_remembered_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MAX_VERDICTS", 10)
    rules = Counting()
    guard = Guard(rules, [TRADER])
    for number in range(100):
        for _ in range(3):
            guard.why_not_publish(TRADER, source_id("trader"), ORDER, f"orders.{number}")
            guard.may_read("trader", TICK, f"ticks.{number}")
            assert len(guard._verdicts) <= 10
            assert len(guard._readable) <= 10
    assert rules.asked == 200
