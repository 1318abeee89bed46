"""No secret is in a log, whatever logs it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from pydantic import BaseModel

from mycelium.observe import redaction
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.observe.redaction import REDACTED, names_a_secret, redact, redact_text, register_secret

SECRET = "hunter2-and-more"
KEY = "0x" + "0123456789abCDEF" * 4

Log = Callable[[], Any]


@pytest.fixture(autouse=True)
def _nothing_is_registered() -> Iterator[None]:
    before = redaction._registered, redaction._exactly
    yield
    redaction._registered, redaction._exactly = before


@pytest.fixture(params=list(LogFormat))
def out(request: pytest.FixtureRequest) -> io.StringIO:
    """What is logged, in either format."""
    stream = io.StringIO()
    configure_logging(form=request.param, stream=stream)
    return stream


def redacted(**values: object) -> dict[str, Any]:
    return dict(redact(None, "info", values))


# --- by name ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "secret", "password", "Password", "db_password", "DB_PASSWORD", "passwd", "passphrase", "token", "auth_token",
        "authorization", "Proxy-Authorization", "api_key", "apikey", "x-api-key", "apiKey", "private_key", "privateKey",
        "curve_secret_key", "client_secret", "mnemonic", "access_key", "cookie", "credentials", "private_keys",
        "accessToken",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)
    assert redacted(**{name: SECRET}) == {name: REDACTED}
    assert redacted(**{name: 4711}) == {name: REDACTED}
    assert redacted(**{name: [SECRET]}) == {name: REDACTED}


@pytest.mark.parametrize(
    "name",
    [
        "token0", "token1", "token_in", "token_out", "tokens", "start_tokens", "token_address", "key", "public_key",
        "secretary", "password_file", "tokenizer", "keys", "event", "monkey", "api_key_id", "subtoken",
    ],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not names_a_secret(name)
    assert redacted(**{name: "0x0d500b1d"}) == {name: "0x0d500b1d"}


def test_that_there_is_none_is_no_secret() -> None:
    values = {"password": None, "token": "", "secret": 0, "has_password": True}
    assert redacted(**values) == values


def test_inside_of_other_values() -> None:
    found = redacted(
        settings={"rpc": [{"api_key": SECRET, "url": "wss://a.example"}], "limits": (1, {"token": SECRET})}
    )
    assert found == {
        "settings": {"rpc": [{"api_key": REDACTED, "url": "wss://a.example"}], "limits": (1, {"token": REDACTED})}
    }


def test_what_is_logged_is_not_changed() -> None:
    inner = {"password": SECRET}
    redacted(settings=inner)
    assert inner == {"password": SECRET}


def test_a_value_that_contains_itself() -> None:
    loop: dict[str, Any] = {"password": SECRET}
    loop["self"] = loop
    assert SECRET not in str(redacted(loop=loop))


class Settings(BaseModel):
    url: str
    private_key: str


@dataclass
class Account:
    name: str
    password: str


class Pair(NamedTuple):
    token: str
    token0: str


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Settings(url="a", private_key=SECRET), f"Settings(url='a', private_key={REDACTED})"),
        (Account("a", SECRET), f"Account(name='a', password={REDACTED})"),
        (Pair(SECRET, "b"), f"Pair(token={REDACTED}, token0='b')"),
        (ValueError(f"password={SECRET}"), f"ValueError('password={REDACTED}')"),
    ],
)
def test_objects_that_show_a_secret_are_replaced_by_what_they_may_show(value: object, shown: str) -> None:
    assert redacted(value=value) == {"value": shown}


def test_objects_that_show_none_stay_what_they_are() -> None:
    values = {"path": Path("/a"), "error": ValueError("a"), "data": b"a", "number": 1.5, "names": {"a"}}
    assert redacted(**values) == values


# --- by place -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("redis://bot:pa:ss@db.example:6379/0", f"redis://{REDACTED}@db.example:6379/0"),
        ("redis://:pass@db.example", f"redis://{REDACTED}@db.example"),
        ("https://ghp_abc@git.example/x", f"https://{REDACTED}@git.example/x"),
        ("https://a.example/?chain=137&api_key=abc&x=1", f"https://a.example/?chain=137&api_key={REDACTED}&x=1"),
        ("https://a.example/?key=abc#b", f"https://a.example/?key={REDACTED}#b"),
        (
            "https://polygon-mainnet.example/v2/aB3-dE5_gH7iJ9kL1mN3 said no",
            f"https://polygon-mainnet.example/v2/{REDACTED} said no",
        ),
        ("wss://rpc.example/polygon/0123456789abcdef0123456789abcdef", f"wss://rpc.example/polygon/{REDACTED}"),
        (
            "Pool(host='a.example', port=443): Max retries exceeded with url: /v3/abcdefghijklmnopqrstuv",
            f"Pool(host='a.example', port=443): Max retries exceeded with url: /v3/{REDACTED}",
        ),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {REDACTED}"),
        ("authorization=Basic YWxhZGRpbjpv", f"authorization={REDACTED} {REDACTED}"),
        (f"cannot log in: password='{SECRET}', user='a'", f"cannot log in: password={REDACTED}, user='a'"),
        (f"{{'api_key': '{SECRET}', \"token\": \"{SECRET}\"}}", f"{{'api_key': {REDACTED}, \"token\": {REDACTED}}}"),
    ],
)  # fmt: skip
def test_places_of_secrets(text: str, clean: str) -> None:
    assert redact_text(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "tcp://10.0.0.1:5555",
        "ipc:///tmp/a-long-directory-with-42-in-it/one.frames",
        "https://a-host-with-a-long-name-1/v2/short",
        "https://docs.example/explanations/what-counts-as-published",
        "token_in=0x0d500b1d token0='0x2791'",
        "mail to a@b.example, at 12:30",
        "the password was wrong: try again",
        "a bearer of good news",
        "swap of token 0x0d500b1d8e8ef31e21c99d1db9a6444d3adf1270",
    ],
)
def test_places_of_other_things(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("piece", ["a-", "a=", "'a", "://", "https://a", "/v2/", "=:", "Bearer "])
def test_a_long_text_takes_no_longer_than_it_should(piece: str) -> None:
    """Bytes from outside can be in an error. What is linear takes some hundredths of a second here."""
    text = piece * (200_000 // len(piece)) + " =:"
    began = time.perf_counter()
    redact_text(text)
    assert time.perf_counter() - began < 2


# --- registered ---------------------------------------------------------------------------------


def test_a_registered_value_is_found_however_it_is_written() -> None:
    register_secret(KEY + "\n")
    for written in (KEY, KEY.lower(), KEY.upper(), KEY.removeprefix("0x")):
        assert KEY[2:].lower() not in redact_text(f"signed with {written}, sent").lower()
    assert KEY[2:] not in str(redacted(data=KEY.encode(), inside=[{"a": (KEY,)}], error=ValueError(KEY)))


def test_one_registered_value_in_another() -> None:
    register_secret("abcd")
    register_secret("abcd-efgh")
    assert redact_text("abcd-efgh abcd") == f"{REDACTED} {REDACTED}"


def test_what_is_too_short_is_not_looked_for() -> None:
    register_secret("")
    register_secret("0x")
    register_secret("abc")
    assert redact_text("abc 0x") == "abc 0x"


def test_a_registered_value_is_a_text_and_not_a_pattern() -> None:
    register_secret(".*[a+]")
    assert redact_text("all .*[a+] here") == f"all {REDACTED} here"


# --- in lines -----------------------------------------------------------------------------------


def test_a_line_holds_none(out: io.StringIO) -> None:
    register_secret(KEY)
    log = structlog.get_logger("x").bind(password=SECRET)
    with structlog.contextvars.bound_contextvars(api_key=SECRET):
        text = f"signing with {KEY}"
        log.info(text, settings={"token": SECRET}, url=f"https://a:{SECRET}@b.example", token0="WETH")
    assert SECRET not in out.getvalue()
    assert KEY[2:] not in out.getvalue()
    assert out.getvalue().count(REDACTED) == 5
    assert "WETH" in out.getvalue()


def test_an_exception_holds_none(out: io.StringIO) -> None:
    """Nor does its cause, a note on it, or one of a group."""
    register_secret(KEY)
    try:
        try:
            raise ConnectionError(f"https://a.example/v2/{SECRET}-12345678?api_key={SECRET}")
        except ConnectionError as cause:
            error = ValueError(f"{KEY} is no key")
            error.add_note(f"password={SECRET}")
            raise ExceptionGroup("several", [error]) from cause
    except ExceptionGroup:
        structlog.get_logger("x").exception("failed")
    said = out.getvalue()
    assert "is no key" in said
    assert SECRET not in said
    assert KEY[2:] not in said


def test_a_traceback_is_still_one(out: io.StringIO) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    if out.getvalue().startswith("{"):
        (exception,) = json.loads(out.getvalue())["exception"]
        assert (exception["exc_type"], exception["exc_value"]) == ("RuntimeError", "boom")
    else:
        lines = out.getvalue().splitlines()
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "RuntimeError: boom"


def test_what_is_not_shown_is_not_looked_at(out: io.StringIO) -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("it was looked at")

    structlog.get_logger("x").debug("hidden", value=Costly(), password=SECRET)
    assert out.getvalue() == ""
