"""What is installed: the pins, what the code needs of them, and the installation by pip alone."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.unit.test_architecture import FOLDERS, imports, modules, top

ROOT = Path(__file__).parents[2]
PLAIN, AIRFLOW, DEV = (f"requirements{suffix}.txt" for suffix in ("", "-airflow", "-dev"))
OPTIONAL = {"jax", "torch"}
"""Other backends of Keras: used where they are, and never needed."""


def pins(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def pinned(name: str) -> set[str]:
    return {line.partition("==")[0] for line in pins(name)}


@pytest.mark.parametrize(("name", "at_least"), [(PLAIN, 60), (AIRFLOW, 60), (DEV, 20)])
def test_every_requirement_is_pinned_and_none_names_a_place(name: str, at_least: int) -> None:
    assert len(pins(name)) > at_least
    for line in pins(name):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][^ @/]*( ; .*)?", line), f"not a plain pin: {line}"


def test_a_package_is_pinned_in_one_file_and_pyspark_client_in_none() -> None:
    names = [name for file in (PLAIN, AIRFLOW, DEV) for name in pinned(file)]
    assert len(names) == len(set(names))
    assert "pyspark" in pinned(PLAIN)
    assert "apache-airflow" in pinned(AIRFLOW)
    assert "pyspark-client" not in names, "its files overwrite those of pyspark"


def distributions(folder: str) -> set[str]:
    """Return the installed distributions that the modules of a folder import."""
    own = {*FOLDERS, *(module.stem for module in modules("dags"))}
    names = {top(name) for path in modules(folder) for name in imports(path)} - own - sys.stdlib_module_names - OPTIONAL
    installed = packages_distributions()
    return {re.sub(r"[-_.]+", "-", installed[name][0]).lower() for name in names}


@pytest.mark.parametrize("folder", ["jobs", "models", "sql"])
def test_the_plain_pins_have_all_that_the_jobs_import(folder: str) -> None:
    assert distributions(folder) <= pinned(PLAIN)


def test_only_the_dags_need_airflow() -> None:
    assert "apache-airflow" not in pinned(PLAIN)
    assert {name.startswith("apache-airflow") for name in distributions("dags")} == {True}


def test_what_the_code_imports_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    comes_with = {"apache-airflow-core": "apache-airflow", "apache-airflow-task-sdk": "apache-airflow"}
    comes_with |= {
        "py4j": "pyspark",
        "pydantic": "pydantic-settings",
        "markupsafe": "jinja2",
        "starlette": "fastapi",
        "anyio": "fastapi",
    }

    def declared(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[=<>]", each)[0].replace("_", "-").lower() for each in requirements}

    plain = declared(project["dependencies"])
    for folder in ("jobs", "models", "sql"):
        assert {comes_with.get(name, name) for name in distributions(folder)} <= plain
    extra = declared(project["optional-dependencies"]["airflow"])
    assert {comes_with.get(name, name) for name in distributions("dags")} <= extra


def test_pip_check_reports_only_what_contributing_explains() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120)
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert len(done.stdout.splitlines()) == 2, done.stdout
    for line in done.stdout.splitlines():
        assert f"`{line}`" in text, line


@pytest.mark.timeout(900)
def test_pip_alone_installs_the_project_beside_its_pins(tmp_path: Path) -> None:
    """The environment sees the packages of this one, so that pip has to agree with the pins and downloads little."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "pins.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "jobs", "models", "sql", AIRFLOW):
        (clone / name).symlink_to(ROOT / name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("pip install .", f"pip install --no-deps -r {AIRFLOW}"):
        assert command in readme
        pip = [str(programs / "python"), "-m", *command.split(), "--quiet", "--disable-pip-version-check", "--no-input"]
        done = subprocess.run(pip, cwd=clone, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
    added = {path.name.split("-")[0] for path in site.glob("*.dist-info")} - {"pip"}
    assert added <= {"shelfwise", "setuptools"}, "what Petastorm's metadata allows of setuptools, and nothing else"
    done = subprocess.run([programs / "shelfwise", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
