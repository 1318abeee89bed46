"""Asks an advisory service whether a vulnerability is known in what a requirements file pins.

``python tools/audit.py requirements/run.txt``; further arguments are given to pip-audit, such as ``--ignore-vuln ID``
or ``--vulnerability-service osv``.

pip-audit ends with 1 for a vulnerability as well as for a network that is not there, and with 0 when the service knew
none of the packages. Here, 1 is a vulnerability and nothing else, and 2 that the audit itself is broken. A service
that cannot be asked is no fault of the change that is looked at: it is said, and the exit code is 0.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import NamedTuple

CLEAN, FOUND, BROKEN = 0, 1, 2

# The last words of pip-audit when a request failed: what requests raised, its own error for an answer that makes no
# sense, or its advice for a connection that could not be made.
_CANNOT_ASK = re.compile(
    r"^(requests\.exceptions\.\w+|pip_audit\._service\.interface\.\w+)\b|your network may be blocking this service",
    re.MULTILINE,
)


class Verdict(NamedTuple):
    """What came of it.

    Args:
        code: to exit with.
        lines: what to say.
    """

    code: int
    lines: list[str]


def judge(output: str, complaints: str) -> Verdict:
    """Tell what has come of a run of pip-audit.

    Args:
        output: what it has written to its standard output: JSON, if it got so far.
        complaints: what it has written to its standard error.
    """
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = complaints.strip().splitlines()
        if _CANNOT_ASK.search(complaints):
            return Verdict(CLEAN, ["audit: NOT DONE, the advisory service cannot be asked", f"  {lines[-1]}"])
        return Verdict(BROKEN, ["audit: pip-audit has failed", *lines[-10:]])
    skipped = [entry["name"] for entry in dependencies if "skip_reason" in entry]
    found = [
        f"  {entry['name']} {entry['version']}: {', '.join([known['id'], *known['aliases']])}; "
        f"fixed in {', '.join(known['fix_versions']) or 'no version yet'}"
        for entry in dependencies
        for known in entry.get("vulns", ())
    ]
    asked = len(dependencies) - len(skipped)
    if not asked:
        # A mirror that has packages and no advisories, or a proxy that answers for everything.
        return Verdict(CLEAN, [f"audit: NOT DONE, the advisory service knows none of the {len(skipped)} packages"])
    lines = [f"audit: {len(found)} known vulnerabilities in {asked} packages", *found]
    if skipped:
        lines.append(
            f"audit: NOT DONE for {len(skipped)} of {len(dependencies)} packages, "
            f"which the advisory service does not know: {', '.join(skipped)}"
        )
    return Verdict(FOUND if found else CLEAN, lines)


def main(requirements: str, *options: str) -> int:
    """Ask, and say what came of it."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements, *options]
    # Everything is pinned with its hashes: nothing is to be resolved, and nothing to be installed.
    command += ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    verdict = judge(ran.stdout, ran.stderr)
    print("\n".join(verdict.lines), file=sys.stderr if verdict.code else sys.stdout)
    return verdict.code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
