"""What a client may say at most: whatever of it stays at a store has an end."""

from __future__ import annotations

import pytest

from mycelium.core.delivery.control import (
    MAX_CAUSES,
    MAX_NAME,
    MAX_PATTERNS,
    AskMarks,
    FromClient,
    Join,
    Report,
    Row,
    encode,
    from_client,
)
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.core.delivery.sharing import Progress, Released, Tenure
from mycelium.core.errors import WireError

KEY = StreamKey(1, 1, "a")


def join(patterns: int) -> Join:
    return Join(1, "reader", 1, ("a",) * patterns, Start.EARLIEST)


def marks(patterns: int) -> AskMarks:
    return AskMarks(1, 1, 1, ("a",) * patterns)


def causes(number: int, length: int = 5) -> Account:
    return Account(0, 1, 0, {f"{n:0{length}}": 1 for n in range(number)})


def said(account: Account) -> list[FromClient]:
    return [
        Report(1, "reader", 1, False, (Row(KEY, Account(0, 1, 1, {})), Row(KEY, account))),
        Progress(1, 1, (Tenure(KEY, 1, account),)),
        Released(1, (Tenure(KEY, 1, account),)),
    ]


@pytest.mark.parametrize("one", [join(MAX_PATTERNS), marks(MAX_PATTERNS), *said(causes(MAX_CAUSES, MAX_NAME))])
def test_as_much_as_is_accepted(one: FromClient) -> None:
    assert from_client(encode(one)) == one


@pytest.mark.parametrize(
    "one",
    [
        join(MAX_PATTERNS + 1),
        marks(MAX_PATTERNS + 1),
        *said(causes(MAX_CAUSES + 1)),
        *said(causes(1, MAX_NAME + 1)),
    ],
)
def test_more_than_that(one: FromClient) -> None:
    with pytest.raises(WireError, match="are accepted"):
        from_client(encode(one))
