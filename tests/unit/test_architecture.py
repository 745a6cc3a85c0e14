"""The rules between folders, read from the imports; and what may be imported where nothing is set up."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("dags", "jobs", "models", "sql")
MAX_LINES = 400

# What a folder may import beside the standard library and itself.
MAY_IMPORT = {
    # With its own modules, by Airflow's names for them.
    "dags": {"airflow", "shelfwise_steps", "shelfwise_forms", "shelfwise_decisions"},
    "jobs": {
        "models",
        "sql",
        "pyspark",
        "py4j",
        "petastorm",
        "pyarrow",
        "pandas",
        "fsspec",
        "tenacity",
        "upath",
        "urllib3",
        "anyio",
        "defusedxml",
        "fastapi",
        "openpyxl",
        "starlette",
        "uvicorn",
    }
    | {
        "backports",
        "numpy",
        "cv2",
        "PIL",
        "pi_heif",
        "jinja2",
        "markupsafe",
        "click",
        "rich",
        "pydantic",
        "pydantic_settings",
    },
    "models": {"keras", "tensorflow", "jax", "torch", "numpy", "scipy", "h5py", "cv2", "click", "threadpoolctl"},
    "sql": {"sqlalchemy", "alembic", "psycopg"},
}


PETASTORM = "jobs/dataset/petastorm_compat.py"

# What a package or module of a folder may import of the same folder. What lies directly in it counts as a package.
BELOW: dict[str, dict[str, tuple[str, ...]]] = {
    "jobs": {
        "errors": (),
        "wording": (),
        "pins": ("errors",),
        "images": (),
        "pages": (),
        "storage": ("errors",),
        "spark": ("errors", "wording", "pins", "storage"),
        "dataset": ("errors", "wording", "pins", "storage"),
        "catalog": ("errors", "wording", "dataset", "images", "storage"),
        "ingest": ("errors", "images", "catalog", "dataset", "spark", "storage"),
        "settings": ("errors", "ingest", "spark", "storage"),
        "predict": ("errors", "wording", "dataset", "spark", "storage"),
        "evaluation": ("errors", "wording", "dataset", "pages", "storage"),
        "report": ("errors", "pages", "dataset", "storage"),
        "review": ("errors", "pages", "dataset", "storage"),
        "releases": ("errors", "evaluation", "settings", "dataset", "images", "storage"),
        "training": ("errors", "wording", "releases", "evaluation", "dataset", "pages", "storage"),
        "runs": ("errors", "predict", "ingest", "catalog", "releases", "settings", "dataset", "spark", "storage"),
        "housekeeping": ("errors", "dataset", "releases", "storage", "training"),
        "demo": ("errors", "runs", "ingest", "settings", "spark", "storage"),
        "cli": (
            *(
                "errors",
                "wording",
                "demo",
                "housekeeping",
                "runs",
                "report",
                "review",
                "training",
                "releases",
                "evaluation",
                "ingest",
                "catalog",
            ),
            *("dataset", "settings", "spark", "storage"),
        ),
        "submit": ("cli",),
    },
    "models": {
        "spec": (),
        "options": (),
        "program": (),
        "temporary": (),
        "whole_files": (),
        "linear": ("spec",),
        "known": ("spec", "networks", "answers", "release"),
        "networks": ("spec", "whole_files"),
        "answers": ("spec",),
        "release_checks": ("spec", "networks", "answers"),
        "release": ("spec", "networks", "answers", "release_checks", "temporary"),
        "card": ("answers", "release"),
        "serving": ("spec", "whole_files", "networks", "answers", "release"),
        "calibrated": ("spec", "answers", "release"),
        "foreign": ("spec", "networks", "release"),
        "training": ("spec", "networks", "release", "serving", "whole_files"),
        "fashion_mnist": ("spec", "networks"),
        "lite0": ("options", "networks", "serving"),
        "train_arrays": ("spec", "options", "networks", "serving", "training"),
        "finished_fashion_mnist": (
            "spec",
            "answers",
            "release",
            "card",
            "calibrated",
            "known",
            "training",
            "whole_files",
        ),
        "train_fashion_mnist": (
            *("spec", "options", "program", "networks", "release", "serving", "training"),
            *("fashion_mnist", "finished_fashion_mnist"),
        ),
    },
    "sql": {
        "errors": (),
        "records": (),
        "lists": (),
        "explanations": ("errors",),
        "engine": ("errors", "explanations"),
        "schema": ("errors", "records", "explanations", "engine"),
        "migrations": ("schema",),
        "publishing": ("errors", "records", "explanations", "engine", "schema"),
        "catalog_source": ("errors", "records", "explanations", "engine"),
        "store": ("records", "explanations", "engine", "schema", "publishing"),
        "run_history": ("records", "engine", "schema", "store"),
        "named_queries": ("errors", "lists", "engine", "schema", "store"),
        "docs": ("schema", "named_queries"),
        "decided": ("errors", "explanations", "schema", "publishing"),
        "overrides": ("errors", "lists", "explanations", "engine", "schema", "publishing", "store", "decided"),
        "review": (
            *("errors", "records", "lists", "explanations", "engine", "schema", "publishing", "store", "decided"),
            "overrides",
        ),
        "decided_labels": ("engine", "schema", "store"),
        "former_decisions": ("errors", "explanations", "overrides"),
        "pictures": ("errors", "engine", "schema", "publishing", "store"),
        "selection": ("errors", "lists", "explanations", "engine", "schema", "publishing", "store"),
        "aliases": ("errors", "records", "engine", "schema", "publishing", "store"),
        "shadow": ("errors", "records", "explanations", "engine", "schema", "publishing", "store"),
        "label_candidates": ("lists", "engine", "schema", "store"),
        "prune": ("engine", "schema", "store"),
        "backup": ("errors", "explanations", "schema", "store"),
        "retract": ("errors", "explanations", "engine", "schema", "publishing", "store"),
    },
}


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield each imported module's full name, those inside functions and `if TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write the full name"
            yield node.module or ""


def top(name: str) -> str:
    return name.partition(".")[0]


def test_the_files_to_check_are_found() -> None:
    assert all(modules(folder) for folder in ("jobs", "models", "sql"))
    assert imports_by_name("petastorm", ROOT / PETASTORM)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_what_its_place_allows(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder} | sys.stdlib_module_names
    for path in modules(folder):
        forbidden = {name for name in imports(path) if top(name) not in allowed}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}; {folder}/ may not"


def imports_by_name(package: str, path: Path) -> bool:
    """Return whether a module calls `import_module` with a package, or with a module of it."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    called = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) == "import_module"]
    names = [node.value for call in called for node in ast.walk(call) if isinstance(node, ast.Constant)]
    return any(isinstance(name, str) and top(name) == package for name in names)


def test_every_import_of_petastorm_goes_through_one_module() -> None:
    every = [path for folder in FOLDERS for path in modules(folder)]
    assert not [path for path in every if "petastorm" in {top(name) for name in imports(path)}]
    assert [path for path in every if imports_by_name("petastorm", path)] == [ROOT / PETASTORM]


def test_openvino_is_imported_by_one_module_which_leaves_its_reports_out() -> None:
    """A plain import of OpenVINO sends a message over the network."""
    every = [path for folder in FOLDERS for path in modules(folder)]
    assert not [path for path in every if "openvino" in {top(name) for name in imports(path)}]
    assert [path.name for path in every if imports_by_name("openvino", path)] == ["openvino_engine.py"]


def room_of(name: str) -> str:
    """Return the package of `ROOMS` that a module's full name lies in, or the module itself: `jobs.dataset`."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in FOLDERS else parts[0]


@functools.cache  # each package asks for the imports of all modules
def targets(path: Path) -> tuple[tuple[str, str], ...]:
    """Return what a module imports of this project: its room, and the module's name in it."""
    return tuple(_targets(path))


def _targets(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and top(node.module or "") in FOLDERS:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                name = full if (ROOT / f"{full.replace('.', '/')}.py").exists() else str(node.module)
                yield room_of(name), name.rpartition(".")[2]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("folder", ["jobs", "models", "sql"])
def test_a_package_imports_only_those_below_it(folder: str) -> None:
    for path in modules(folder):
        here = room_of(name_of(path))
        others = {room for room, _ in targets(path) if top(room) == folder and room != here}
        beyond = others - {f"{folder}.{name}" for name in BELOW[folder].get(here.rpartition(".")[2], ())}
        assert not beyond, f"{path.relative_to(ROOT)} imports {sorted(beyond)}, which BELOW does not allow {here}"


@pytest.mark.parametrize("folder", ["jobs", "models", "sql"])
def test_the_table_of_packages_lists_the_folders_and_has_no_cycle(folder: str) -> None:
    rooms = {name_of(path).split(".")[1] for path in modules(folder) if path != ROOT / folder / "__init__.py"}
    assert rooms == BELOW[folder].keys()
    placed: set[str] = set()
    while rooms > placed:
        ready = {name for name in rooms - placed if set(BELOW[folder][name]) <= placed}
        assert ready, f"these import one another in a circle: {sorted(rooms - placed)}"
        placed |= ready


@pytest.mark.parametrize("folder", ["jobs", "models", "sql"])
def test_every_folder_of_modules_is_a_package(folder: str) -> None:
    """Without an __init__ a folder is in no wheel, and is not found in the archive that executors get."""
    started = {ROOT / "jobs/submit", ROOT / "sql/migrations", ROOT / "sql/migrations/versions"}  # what is run as a file
    folders = {path.parent for path in modules(folder)} - started
    assert [path for path in folders if not (path / "__init__.py").is_file()] == []


def test_other_packages_import_only_the_modules_that_a_package_lists() -> None:
    every = [path for folder in FOLDERS for path in modules(folder)]
    for package in {path.parent for path in every if path.name == "__init__.py" and path.parent.parent.parent == ROOT}:
        here = name_of(package / "__init__.py").removesuffix(".__init__")
        told = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
        listed = set(re.findall(r"\w+", told.partition("Others import: ")[2])) - {"nothing"}
        taken = {
            module for path in every if room_of(name_of(path)) != here for room, module in targets(path) if room == here
        }
        assert taken == listed, f"{here}/__init__.py lists {sorted(listed)}; others import {sorted(taken)}"


def test_only_modules_that_choose_a_device_import_a_backend() -> None:
    """The networks and their training are written for Keras, whichever backend it runs on."""
    backends = {"tensorflow", "jax", "torch"}
    importers = {path.name for path in modules("models") if backends & {top(name) for name in imports(path)}}
    assert importers == {"devices.py", "keras_engine.py", "conversion.py", "lite0.py"}, (
        "the last reads a file of PyTorch's"
    )


def test_of_models_only_programs_import_click() -> None:
    """What predicts on the executors of a cluster does not need it."""
    importers = {path.stem for path in modules("models") if "click" in {top(name) for name in imports(path)}}
    assert importers == {"options", "lite0", "train_arrays", "train_fashion_mnist"}


def test_jobs_do_not_import_the_command_line() -> None:
    importers = {path.name for path in modules("jobs") if "jobs.cli.main" in set(imports(path))}
    assert importers == {"shelfwise_job.py"}, "only the console script and spark-submit's file start the command line"


def test_a_dag_file_is_short() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in modules("dags")}
    lines = {name: len(text.splitlines()) for name, text in texts.items() if "with DAG(" in text}
    assert len(lines) == 3
    assert max(lines.values()) < 80, "a DAG only lists"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_has_at_most_400_lines(folder: str) -> None:
    for path in modules(folder):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAX_LINES, f"{path.relative_to(ROOT)} has {lines} lines, over {MAX_LINES}; split it by noun"


IMPORT_ALONE = """
import sys, time

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Absent())
import {module}
print(time.process_time())
"""
NETWORKS = ("keras", "tensorflow", "jax", "torch")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("jobs.predict.job", (*NETWORKS, "pyspark", "petastorm")),
        ("jobs.cli.main", (*NETWORKS, "pyspark", "petastorm")),
        ("jobs.images.normalise", (*NETWORKS, "pyspark", "petastorm", "sqlalchemy")),
        (
            "jobs.spark.probe",
            (*NETWORKS, "pyspark", "petastorm", "pyarrow", "pandas", "numpy", "cv2", "upath", "fsspec"),
        ),
        ("models.release", NETWORKS),
        ("models.serving.predictor", (*NETWORKS, "openvino")),
        ("models.serving.openvino_engine", (*NETWORKS, "openvino")),
        ("sql.store", (*NETWORKS, "pyspark", "petastorm", "pyarrow", "models", "jobs")),
    ],
)
def test_a_module_imports_quickly_without(module: str, absent: tuple[str, ...]) -> None:
    code = IMPORT_ALONE.format(module=module, absent=absent)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3, "seconds of processor time"
    assert done.stderr == ""
