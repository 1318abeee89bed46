"""What pip-audit says, and what is made of it."""

from __future__ import annotations

import json

import pytest

from tools.audit import judge

ASKED = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "V-1", "aliases": ["C-1"], "fix_versions": ["3", "4"]}]}


def output(*dependencies: object) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_what_is_found_fails_whatever_else_there_is() -> None:
    assert judge(output(ASKED, UNKNOWN, BAD), "Found 1 known vulnerability") == (
        1,
        [
            "audit: 1 known vulnerabilities in 2 packages",
            "  c 2: V-1, C-1; fixed in 3, 4",
            "audit: NOT DONE for 1 of 3 packages, which the advisory service does not know: b",
        ],
    )


def test_a_package_that_nobody_knows_is_not_called_safe() -> None:
    assert judge(output(ASKED, UNKNOWN), "No known vulnerabilities found") == (
        0,
        [
            "audit: 0 known vulnerabilities in 1 packages",
            "audit: NOT DONE for 1 of 2 packages, which the advisory service does not know: b",
        ],
    )


def test_a_service_that_knows_nothing_has_not_been_asked() -> None:
    assert judge(output(UNKNOWN, UNKNOWN), "No known vulnerabilities found") == (
        0,
        ["audit: NOT DONE, the advisory service knows none of the 2 packages"],
    )


@pytest.mark.parametrize(
    "complaint",
    [
        "Traceback (most recent call last):\n  ...\nrequests.exceptions.ProxyError: Pool(host='a', port=443)",
        "Traceback (most recent call last):\n  ...\nrequests.exceptions.ReadTimeout: a",
        "Traceback (most recent call last):\n  ...\npip_audit._service.interface.ServiceError",
        (
            "ERROR:pip_audit._cli:Could not connect to the feed\n"
            "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s SERVICE`"
        ),
    ],
)
def test_a_service_that_cannot_be_asked(complaint: str) -> None:
    verdict = judge("", complaint + "\n")
    assert verdict == (
        0,
        ["audit: NOT DONE, the advisory service cannot be asked", f"  {complaint.splitlines()[-1]}"],
    )


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("", "ERROR:pip_audit._cli:requirement a does not contain a hash"),
        ("", "/usr/bin/python: No module named pip_audit"),
        ("", "Traceback (most recent call last):\n  File 'requests/exceptions.py'\nKeyError: 'a'"),
        ("[]", "what is this"),
        ("{}", ""),
        ("", ""),
    ],
)
def test_everything_else_is_a_failure(said: str, complaint: str) -> None:
    assert judge(said, complaint) == (2, ["audit: pip-audit has failed", *complaint.splitlines()])
