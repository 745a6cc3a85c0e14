"""`make audit` with a stand-in for pip-audit, because the databases of vulnerabilities change every day."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"

PIP_AUDIT = """
import os, sys
service = sys.argv[sys.argv.index("--vulnerability-service") + 1]
answer = os.environ.get(service.upper())
assert [word for word in sys.argv if word.endswith("requirements.txt")], sys.argv
if answer is None:
    sys.exit("ERROR:pip_audit._cli: no connection to " + service)
print(answer)
"""
CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
LEAKY = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}
ABSENT = {"name": "shelfwise", "skip_reason": "not found"}


def audit(tmp_path: Path, **answers: list[dict[str, Any]]) -> tuple[int, str]:
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    said = {service.upper(): json.dumps({"dependencies": entries}) for service, entries in answers.items()}
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), **said}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_nothing_is_known(tmp_path: Path) -> None:
    assert audit(tmp_path, pypi=[CLEAN]) == (0, "pypi knows 0 vulnerabilities of 1 pinned packages\n")


def test_a_vulnerability_is_named_with_the_version_that_mends_it(tmp_path: Path) -> None:
    code, said = audit(tmp_path, pypi=[CLEAN, LEAKY])
    assert code == 1
    assert said.splitlines()[0] == "pillow 1.0: PYSEC-1, mended in 1.1"


def test_the_other_service_is_asked_where_the_first_does_not_answer(tmp_path: Path) -> None:
    assert audit(tmp_path, osv=[CLEAN]) == (0, "osv knows 0 vulnerabilities of 1 pinned packages\n")
    assert audit(tmp_path, pypi=[ABSENT], osv=[LEAKY])[0] == 1


def test_a_pin_without_an_answer_does_not_count_as_clean(tmp_path: Path) -> None:
    code, said = audit(tmp_path, pypi=[CLEAN, ABSENT])
    assert code == 3
    assert said.splitlines()[-1] == "it has no answer for shelfwise"


@pytest.mark.parametrize("answers", [{}, {"pypi": [ABSENT]}])
def test_no_service_answers(answers: dict[str, Any], tmp_path: Path) -> None:
    code, said = audit(tmp_path, **answers)
    assert code == 3
    assert said.startswith("no service for known vulnerabilities answered (pypi: ")
    assert "no connection to osv" in said
