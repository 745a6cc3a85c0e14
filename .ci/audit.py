"""Look the pins of requirements*.txt up in the databases of known vulnerabilities, with pip-audit.

    make audit

Exit codes: 0 nothing known, 1 vulnerabilities were found, 3 not every pin could be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SERVICES = ("pypi", "osv")
"""pip-audit's services, in the order in which they are asked."""

FOUND, NOT_LOOKED_UP = 1, 3


def answer_of(service: str) -> list[dict[str, Any]] | str:
    """Return pip-audit's entry for each pin, or in one line why the service gave none.

    Args:
        service: One of `SERVICES`.
    """
    files = sorted(ROOT.glob("requirements*.txt"))
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    command += ["--format", "json", "--vulnerability-service", service, "--timeout", "15"]
    command += [word for file in files for word in ("--requirement", str(file))]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        entries = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines() or [f"pip-audit ended with exit code {done.returncode}"]
        return lines[-1][:120]
    if all("skip_reason" in entry for entry in entries):
        return "it knows none of the packages"
    return entries  # type: ignore[no-any-return]


def main() -> int:
    """Print what is known about the pins, and return the exit code."""
    faults = []
    for service in SERVICES:
        answer = answer_of(service)
        if isinstance(answer, str):
            faults.append(f"{service}: {answer}")
            continue
        return report(service, answer)
    print(f"no service for known vulnerabilities answered ({'; '.join(faults)}); run make audit where one is reachable")
    return NOT_LOOKED_UP


def report(service: str, entries: list[dict[str, Any]]) -> int:
    """Print the vulnerabilities and the pins without an answer; return the exit code."""
    known = [(entry, each) for entry in entries for each in entry.get("vulns", ())]
    skipped = [entry["name"] for entry in entries if "skip_reason" in entry]
    for entry, each in known:
        mended = ", ".join(each.get("fix_versions") or ()) or "no version yet"
        print(f"{entry['name']} {entry['version']}: {each['id']}, mended in {mended}")
    print(f"{service} knows {len(known)} vulnerabilities of {len(entries) - len(skipped)} pinned packages")
    if skipped:
        print(f"it has no answer for {', '.join(sorted(skipped))}")
    if known:
        return FOUND
    return NOT_LOOKED_UP if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
