"""The driver converts a release once and keeps it; tasks compute it without Keras, with the same answers."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.errors import RunFailed, UsageError
from jobs.predict.config import Computing, ConvertedFiles, Plan, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.job import predict_in_turn, predict_shard, prediction_file, run
from jobs.predict.networks import LoadedNetworks, distribute, load_networks, unload_networks
from jobs.storage.places import Places
from models.known.fit import Examples, fit_known
from models.networks.pixels import PIXELS, STATISTICS
from models.release import Release, ReleaseError, load_release, save_release
from models.serving import converted as converted_module
from models.serving import openvino_engine
from models.serving.keras_engine import KerasEngine
from models.serving.openvino_engine import OpenVinoEngine
from models.serving.predictor import EnsemblePredictor
from tests.conftest import CATEGORIES
from tests.unit.predict.test_predict_loop import DAY, write_images
from tests.untrained import broken_release, untrained_release

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[PredictConfig, ConvertedFiles]:
    """A home in which a helper process has converted a small release that tells images apart."""
    place = tmp_path_factory.mktemp("kept")
    directory = untrained_release(place, {"efficientnetb0": 32}, CATEGORIES, release_id="small", told_apart=True)
    config = PredictConfig("run-1", (DAY,), Places(place / "home"), directory)
    files = converted_files(config, load_release(directory))
    assert files is not None
    return config, files


def test_a_release_is_converted_once_and_kept_from_others(
    kept: tuple[PredictConfig, ConvertedFiles],
) -> None:
    config, files = kept
    engines = config.places.local_home / "engines"
    assert [path.name for path in engines.iterdir()] == [files.converted.key]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (engines, files.directory)} == {0o700}
    assert {path.name for path in files.directory.iterdir()} == {*files.converted.files, "converted.json"}
    assert not list(config.release_dir.glob("openvino*")), "a release is never changed"
    again = converted_files(config, load_release(config.release_dir), program="raise SystemExit('it is kept')")
    assert again == files


NEVER = """
import sys
class Never:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"keras", "tensorflow", "jax", "torch", "openvino_telemetry"}:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Never())
from models.serving import devices
devices.may_have_accelerator = lambda: False
"""
"""Refuses imports in a process that computes on a processor, whatever the machine has."""

PROCESS = f"""{NEVER}
import json
from datetime import date
from pathlib import Path
from jobs.predict import networks
from jobs.predict.config import Computing, ConvertedFiles, Plan, PredictConfig
from jobs.predict.job import predict_in_quarantine, predict_shard
from jobs.predict.quarantine import PROGRAM, Quarantine
from jobs.predict.quarantine_helper import HelperSetup
from jobs.predict.selection import of_shard
from jobs.storage.places import Places
from models.serving.converted import read_manifest
never, *paths = sys.argv[1:]
home, release, directory, shard = map(Path, paths)
files = ConvertedFiles(read_manifest(directory / "converted.json"), directory)
computing = Computing(converted=files, plan=Plan(trial_images=4))
config = PredictConfig("run-2", (date.fromisoformat("{DAY}"),), Places(home), release, computing=computing)
on = networks.loaded_networks(config, shard, None)
report = predict_shard(
    shard, on.inference, on.release, config, on=on.compute_report(), gate=on.gate, trial=on.trial
)
with Quarantine(HelperSetup(config, release, on.release), never + PROGRAM) as ward:
    again = predict_in_quarantine(of_shard(config, shard), ward, on.release, config, shard, gate=on.gate)
networks.unload_networks(may_end=False)
modules = sorted({{"openvino", "keras"}} & set(sys.modules))
reports = [[each.images, each.failed, each.device, each.engine] for each in (report, again)]
print(json.dumps([reports, bool(on.gate), bool(on.trial) == devices.multiplies_bfloat16(), modules]))
"""
"""Predicts as a task does, with the release's gate and the trial of bfloat16, and then in quarantine."""


def described_release(directory: Path, place: Path) -> Path:
    """Write a release with a description of made-up images beside its weights; return its directory."""
    random = np.random.default_rng(3)
    widths = {"efficientnetb0": 1280, PIXELS: STATISTICS}
    features = {name: random.normal(size=(60, width)).astype(np.float32) for name, width in widths.items()}
    names = [f"p{number:02d}" for number in range(60)]
    examples = Examples(features, names, names)
    fitted, release = fit_known(examples, examples), load_release(directory)
    weights = {spec.architecture: directory / spec.weights_file for spec in release.networks}
    described = replace(release, known=fitted.spec)
    save_release(described, place / "described", weights=weights, documents={fitted.spec.file: fitted.content})
    return place / "described"


def test_a_predicting_process_never_imports_keras_or_what_reports_to_others(
    kept: tuple[PredictConfig, ConvertedFiles], tmp_path: Path
) -> None:
    config, files = kept
    shard = write_images(Places(tmp_path), 9)
    release = described_release(config.release_dir, tmp_path)
    words = [sys.executable, "-c", PROCESS, NEVER, *map(str, (tmp_path, release, files.directory, shard))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    reports, gate, trial, modules = json.loads(done.stdout)
    assert gate, "it is part of the process"
    assert trial, "it is tried wherever the processor can"
    assert modules == ["openvino"]
    for images, failed, device, engine in reports:
        assert (images, failed, engine) == (9, 0, "openvino")
        assert device.startswith("CPU, ")


def rows_by(engine: Any, config: PredictConfig, release: Release, shard: Path) -> list[dict[str, Any]]:
    predictor = EnsemblePredictor(release, config.release_dir, engine=engine)
    predict_shard(shard, predictor, release, config)
    rows: list[dict[str, Any]] = pq.read_table(prediction_file(config, shard)).to_pylist()
    return rows


def test_both_engines_give_the_same_statuses(kept: tuple[PredictConfig, ConvertedFiles], tmp_path: Path) -> None:
    config, files = kept
    config = replace(config, places=Places(tmp_path))
    release, shard = load_release(config.release_dir), write_images(Places(tmp_path), 60)
    confidences = sorted({row["confidence"] for row in rows_by(KerasEngine(), config, release, shard)})
    gaps = np.diff(confidences)
    cut = confidences[int(gaps.argmax())] + float(gaps.max()) / 2
    leaves = [category.category_id for category in release.categories]
    release = replace(release, thresholds=dict.fromkeys(leaves, cut))
    ours = rows_by(OpenVinoEngine(files.converted, files.directory, 2), config, release, shard)
    theirs = rows_by(KerasEngine(), config, release, shard)
    names = ("product_id", "category_id", "status", "review_reason", "reason")
    assert [[row[name] for name in names] for row in ours] == [[row[name] for name in names] for row in theirs]
    assert len({(row["category_id"], row["status"]) for row in ours}) > 1, "or this says nothing"
    assert len(ours) == 60
    np.testing.assert_allclose([row["confidence"] for row in ours], [row["confidence"] for row in theirs], atol=1e-5)


def test_a_damaged_conversion_is_made_again(
    kept: tuple[PredictConfig, ConvertedFiles], caplog: pytest.LogCaptureFixture
) -> None:
    config, files = kept
    release = load_release(config.release_dir)
    weights = files.directory / list(files.converted.files)[1]
    weights.write_bytes(weights.read_bytes()[:-1])
    again = converted_files(config, release)
    assert again is not None
    again.converted.check(release, again.directory)
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("the release is converted again: the converted release ")


def test_a_conversion_without_its_description_is_made_again(
    kept: tuple[PredictConfig, ConvertedFiles], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever deleted some of its files left a directory in the way of every later conversion."""
    config, files = kept
    (files.directory / "converted.json").unlink()
    again = converted_files(config, load_release(config.release_dir))
    assert again is not None
    assert again.directory == files.directory
    again.converted.check(load_release(config.release_dir), again.directory)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def sending(reply: str) -> str:
    """Return the program of a helper that replies with an expression."""
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from multiprocessing.connection import Connection\n"
        "from models.serving.engines import ConversionRefused, EngineError\n"
        "pipe = Connection(int(sys.argv[1])); pipe.recv()\n"
        f"pipe.send({reply})\n"
    )


@pytest.fixture
def config(tmp_path: Path, tiny_release: Path) -> PredictConfig:
    return PredictConfig("run-1", (DAY,), Places(tmp_path), tiny_release)


def test_what_cannot_be_converted_is_computed_by_keras_and_not_tried_again(
    config: PredictConfig, caplog: pytest.LogCaptureFixture
) -> None:
    release = load_release(config.release_dir)
    for program in (sending("ConversionRefused('OpenVINO cannot convert it (Zeta)')"), "raise SystemExit(1)"):
        caplog.clear()
        assert converted_files(config, release, program=program) is None
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage() == (
            "release tiny-1 is computed by Keras, which is slower on processors: OpenVINO cannot convert it (Zeta)"
        )
    demanded = replace(config, computing=Computing(engine="openvino"))
    with pytest.raises(RunFailed, match=r"cannot compute release tiny-1: OpenVINO cannot convert it \(Zeta\); or set"):
        converted_files(demanded, release, program="raise SystemExit(1)")
    [note] = (config.places.local_home / "engines").glob("*/refused.txt")
    note.write_bytes(b"\xff\xfe")
    assert converted_files(config, release, program="raise SystemExit(1)") is None
    assert "is computed by Keras, which is slower on processors" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("engine", ["auto", "openvino", "keras"])
def test_weights_that_are_no_numbers_are_one_sentence_and_no_prediction(
    tiny_release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, engine: Literal["auto", "openvino", "keras"]
) -> None:
    """Whatever computes: with Keras in each task, otherwise before a session of Spark is opened."""
    places = Places(tmp_path / "home")
    config = PredictConfig("run-1", (DAY,), places, broken_release(tiny_release, tmp_path))
    config = replace(config, computing=Computing(engine=engine))
    release, shard = load_release(config.release_dir), write_images(places, 3)
    words = (
        r"^a weight of the efficientnetb0 of release broken-1, .*kernel, is not a finite .*; train the network again"
    )
    with pytest.raises(ReleaseError, match=words):
        if engine == "keras":
            list(predict_in_turn({shard: 3}, config, release, None, quarantine_attempt=1))
        else:
            run(lambda: pytest.fail("Spark was started"), config, release)
    assert not prediction_file(config, shard).exists()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "ended by SIGSEGV; see that this machine has memory",
        ),
        (sending("EngineError('no space')"), "no space"),
        (sending("17"), "ended by exit code 0"),
    ],
)
def test_a_conversion_that_failed_by_chance_is_tried_again(
    config: PredictConfig, caplog: pytest.LogCaptureFixture, program: str, words: str
) -> None:
    release = load_release(config.release_dir)
    assert converted_files(config, release, program=program) is None
    assert words in caplog.records[-1].getMessage()
    assert list((config.places.local_home / "engines").iterdir()) == [], "nothing is left half-written"


def test_openvino_that_is_missing_is_one_sentence(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = load_release(config.release_dir)
    monkeypatch.setattr(converted_module, "installed", lambda _: "")
    assert converted_files(config, release, program="raise SystemExit(1)") is None
    assert "expected OpenVINO 2026.4, found none; install" in caplog.records[-1].getMessage()
    with pytest.raises(RunFailed, match=r"expected OpenVINO 2026\.4, found none"):
        converted_files(replace(config, computing=Computing(engine="openvino")), release)


@pytest.mark.parametrize(
    ("computing", "name"),
    [
        (Computing(engine="openvino", gpu=True), "SHELFWISE_GPU"),
        (Computing(engine="openvino", precision="mixed_float16"), "SHELFWISE_PRECISION"),
    ],
)
def test_openvino_contradicts_a_gpu_and_half_precision(config: PredictConfig, computing: Computing, name: str) -> None:
    with pytest.raises(UsageError, match=f"SHELFWISE_ENGINE=openvino computes on processors.*{name} demands otherwise"):
        converted_files(replace(config, computing=computing), load_release(config.release_dir))


@pytest.mark.parametrize(
    "computing", [Computing(engine="keras"), Computing(gpu=True), Computing(precision="mixed_float16")]
)
def test_nothing_is_converted_for_keras(config: PredictConfig, computing: Computing) -> None:
    found = converted_files(replace(config, computing=computing), load_release(config.release_dir), program="1 / 0")
    assert found is None
    assert not (config.places.local_home / "engines").exists()


def test_conversions_that_nobody_uses_are_deleted_and_nothing_of_others(config: PredictConfig, tmp_path: Path) -> None:
    """The directory may be any of the user's, and may hold whatever the user keeps there."""
    engines, key = tmp_path / "shared", "0123456789abcdef" * 2
    new, refused, broken, other = ("1" * 32, "2" * 32, "3" * 32, "4" * 32)
    files = [
        *(f"{name}/converted.json" for name in (key, new)),
        *(f"{name}/openvino-{name}.bin" for name in (key, new, broken)),
        f"{refused}/refused.txt",
        ".new-a_b2c3d4/whole/converted.json",
        ".new-pictures/a.jpg",
        f"{other}/photographs.zip",
        "photographs/a.jpg",
        "photographs/converted.json",
        "notes.txt",
    ]
    for name in files:
        (engines / name).parent.mkdir(parents=True, exist_ok=True)
        (engines / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (engines / ("5" * 32)).symlink_to(tmp_path / "elsewhere")
    for entry in engines.iterdir():
        if entry.name != new:
            os.utime(entry, (0, 0), follow_symlinks=False)
    config = replace(config, computing=Computing(engines_dir=engines))
    converted_files(config, load_release(config.release_dir), program="raise SystemExit(1)")
    kept = {new, other, "photographs", ".new-pictures", "notes.txt", "5" * 32}
    assert {path.name for path in engines.iterdir()} == kept
    assert (engines / "photographs" / "a.jpg").exists()


def test_the_files_of_a_conversion_are_sent_beside_the_release(kept: tuple[PredictConfig, ConvertedFiles]) -> None:
    sent: list[str] = []

    class Session:
        class sparkContext:
            master = "spark://somewhere:7077"
            addFile = staticmethod(lambda path: sent.append(Path(path).name))

    config, files = kept
    release = load_release(config.release_dir)
    assert distribute(Session(), config.release_dir, release, files) == release  # type: ignore[arg-type]
    assert sent[-2:] == list(files.converted.files)
    assert sent[0] == "release.json"


@pytest.mark.parametrize("fault", [None, "altered"])
def test_a_task_uses_the_files_that_arrived_with_the_release(
    kept: tuple[PredictConfig, ConvertedFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None
) -> None:
    monkeypatch.setattr("jobs.predict.networks.load_gate", lambda *_: None)
    monkeypatch.setattr("models.serving.devices.may_have_accelerator", lambda: False)
    monkeypatch.setattr("models.serving.devices.device", lambda: pytest.fail("the backend need not be asked"))
    config, files = kept
    release = load_release(config.release_dir)
    for file in [*config.release_dir.iterdir(), *(files.directory / name for name in files.converted.files)]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if fault:
        (tmp_path / next(iter(files.converted.files))).write_text("<net/>")
    elsewhere = ConvertedFiles(files.converted, tmp_path / "of the driver")
    config = replace(config, computing=Computing(converted=elsewhere))
    if fault:
        with pytest.raises(RunFailed, match=r"on .* the converted release .*xml was altered: expected SHA-256"):
            load_networks(config, None, tmp_path, release, cores=1)
        return
    loaded = load_networks(config, None, tmp_path, release, cores=1)
    answer = loaded.inference.answer(np.zeros((3, 32, 32, 3), np.uint8))
    assert answer.errors == ("",) * 3
    on = loaded.compute_report()
    assert (on.precision, on.engine) == ("float32", "openvino")
    assert loaded.tuning.batch_size % 16 == 0
    unload_networks(may_end=False)


def loaded_for(plan: Plan, kept: tuple[PredictConfig, ConvertedFiles], *, cores: int = 1) -> LoadedNetworks:
    """Load the networks of the small release as a task with this plan does."""
    config, files = kept
    config = replace(config, computing=Computing(converted=files, engine="openvino", plan=plan))
    return load_networks(config, None, config.release_dir, None, cores=cores)


@pytest.fixture
def by_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.predict.networks.load_gate", lambda *_: None)
    for module in ("devices", "openvino_engine"):
        monkeypatch.setattr(f"models.serving.{module}.multiplies_bfloat16", lambda: True)


@pytest.mark.usefixtures("by_openvino")
def test_a_task_computes_with_its_own_cores(
    kept: tuple[PredictConfig, ConvertedFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.serving.environment.usable_cores", lambda cores: cores)
    assert loaded_for(Plan(), kept, cores=3).tuning.batch_size == 48, "16 images for each of its threads"


@pytest.mark.usefixtures("by_openvino")
def test_an_executor_without_bfloat16_that_came_later_computes_a_run_in_float32_and_compares_nothing(
    kept: tuple[PredictConfig, ConvertedFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has seen the instructions on those executors that were there."""
    assert loaded_for(Plan("float32", 100), kept).trial is not None
    for module in ("devices", "openvino_engine"):
        monkeypatch.setattr(f"models.serving.{module}.multiplies_bfloat16", lambda: False)
    loaded = loaded_for(Plan("float32", 100), kept)
    assert (loaded.trial, loaded.tuning.precision) == (None, "float32")


@pytest.mark.usefixtures("by_openvino")
def test_a_release_that_openvino_cannot_compile_in_bfloat16_is_computed_in_float32(
    kept: tuple[PredictConfig, ConvertedFiles], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiled = openvino_engine._Requests

    def unable(*given: Any, hint: str, **options: Any) -> Any:
        if hint == "bf16":
            raise RuntimeError("no kernel")
        return compiled(*given, hint=hint, **options)

    monkeypatch.setattr(openvino_engine, "_Requests", unable)
    loaded = loaded_for(Plan("float32", 100), kept)
    assert loaded.inference.answer(np.zeros((3, 32, 32, 3), np.uint8)).errors == ("",) * 3
    assert loaded.trial is None
    assert (
        "release small cannot be tried in bfloat16: OpenVINO cannot compute the converted release on this"
        in caplog.text
    )


@pytest.mark.usefixtures("by_openvino")
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("_Requests", RuntimeError("no kernel"), r"cannot compute .* on this processor \(no kernel\); set"),
        ("import_module", ImportError("no library"), r"cannot be imported \(no library\); install .*, or set"),
    ],
)
def test_a_task_in_which_openvino_is_broken_names_the_machine_and_the_remedy(
    kept: tuple[PredictConfig, ConvertedFiles],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: Exception,
    words: str,
) -> None:
    def broken(*_given: object, **_options: object) -> None:
        raise error

    if name == "import_module":
        monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(openvino_engine, name, broken)
    with pytest.raises(RunFailed, match=rf"^on {socket.gethostname()} OpenVINO .*{words} SHELFWISE_ENGINE=keras$"):
        loaded_for(Plan(), kept)
