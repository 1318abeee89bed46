"""The audit of dependencies, with pip-audit as it is and an advisory service of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.process

PINNED = "".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in ("good", "bad"))


class Service(ThreadingHTTPServer):
    """Answers as OSV does; it knows one package in which there is something."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = 200
        self.knows = {"bad": ["1.1"]}


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]
        self.send_response(self.server.status)
        self.end_headers()
        fixes = self.server.knows.get(asked["name"])
        found = {
            "id": "TEST-1",
            "aliases": ["CVE-1"],
            "affected": [
                {"package": asked, "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": fix} for fix in fixes or ()]}]}
            ],
        }
        self.wfile.write(json.dumps({} if fixes is None else {"vulns": [found]}).encode())

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as made:
        serving = threading.Thread(target=made.serve_forever)
        serving.start()
        yield made
        made.shutdown()
        serving.join()


def audit(directory: Path, port: int, pinned: str = PINNED) -> tuple[int, str]:
    """Exit code, and what was said."""
    requirements = directory / "requirements.txt"
    requirements.write_text(pinned)
    asking = ("--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{port}/")
    result = subprocess.run(
        [sys.executable, "tools/audit.py", str(requirements), *asking, "--cache-dir", str(directory / "cache")],
        cwd=REPOSITORY,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def test_a_vulnerability_fails(tmp_path: Path, service: Service) -> None:
    assert audit(tmp_path, service.server_port) == (
        1,
        "audit: 1 known vulnerabilities in 2 packages\n  bad 1.0: CVE-1, TEST-1; fixed in 1.1\n",
    )


def test_one_without_a_fix_fails_too(tmp_path: Path, service: Service) -> None:
    service.knows = {"good": []}
    code, said = audit(tmp_path, service.server_port)
    assert (code, "good 1.0: CVE-1, TEST-1; fixed in no version yet" in said) == (1, True)


def test_nothing_known_is_good(tmp_path: Path, service: Service) -> None:
    service.knows = {}
    assert audit(tmp_path, service.server_port) == (0, "audit: 0 known vulnerabilities in 2 packages\n")


def test_a_service_that_does_not_answer_is_said_and_no_failure(tmp_path: Path, service: Service) -> None:
    service.server_close()
    code, said = audit(tmp_path, service.server_port)
    assert code == 0
    assert said.startswith("audit: NOT DONE, the advisory service cannot be asked\n  requests.exceptions.")


def test_a_service_that_is_broken_is_said_and_no_failure(tmp_path: Path, service: Service) -> None:
    service.status = 503
    code, said = audit(tmp_path, service.server_port)
    assert code == 0
    assert said.startswith("audit: NOT DONE, the advisory service cannot be asked\n")


@pytest.mark.parametrize("pinned", ["good==1.0\n", "good>=1.0\n"])
def test_a_file_that_pins_nothing_is_a_failure(tmp_path: Path, service: Service, pinned: str) -> None:
    code, said = audit(tmp_path, service.server_port, pinned)
    assert code == 2
    assert said.startswith("audit: pip-audit has failed\n")
    assert "good" in said
