"""The engine of OpenVINO answers as Keras does, without Keras, and refuses what it cannot answer so."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.release import Release, ReleaseError, load_release
from models.serving import conversion, converted, devices, openvino_engine
from models.serving.conversion import convert, sample_images
from models.serving.converted import Converted, conversion_key, read_manifest, write_manifest
from models.serving.engines import ConversionRefused, EngineError, Precision
from models.serving.environment import usable_cores
from models.serving.keras_engine import KerasEngine
from models.serving.openvino_engine import OpenVinoEngine, openvino, piece_of, reason_in
from models.spec import Head, HeadLayer, Images
from tests.conftest import CATEGORIES
from tests.same_answers import assert_same_answers
from tests.untrained import broken_release, untrained_release

HEAD = Head(
    "max", (HeadLayer("dense", 24), HeadLayer("scale"), HeadLayer("prelu"), HeadLayer("gelu"), HeadLayer("dense", 16))
)


class Serving:
    """A release of several architectures, of which one has a head of its own, and its conversion."""

    def __init__(self, directory: Path) -> None:
        sizes = {"efficientnetb0": 64, "efficientnetb2": 64, "xception": 71}
        self.directory = untrained_release(
            directory, sizes, CATEGORIES, release_id="three", heads={"efficientnetb0": HEAD}, told_apart=True
        )
        self.release = load_release(self.directory)
        self.files = directory / "converted"
        self.files.mkdir()
        self.converted = convert(self.release, self.directory, self.files)

    def open(self, **changes: Any) -> Any:
        engine = OpenVinoEngine(**{"converted": self.converted, "files": self.files, "threads": 2, **changes})
        return engine.open(self.release, self.directory)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    return Serving(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def forward(serving: Serving) -> Any:
    return serving.open()


def test_both_engines_give_the_same_answers_and_features(serving: Serving, forward: Any) -> None:
    images = sample_images(serving.release.decode_px)
    expected, found = KerasEngine().open(serving.release, serving.directory)(images), forward(images)
    assert [part.shape[1] for part in found] == [3, 3, 3, 16, 1408, 2048]
    assert_same_answers(found, expected)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40])
def test_each_image_has_its_own_row_whatever_the_size_of_its_batch(count: int, forward: Any) -> None:
    images = np.random.default_rng(2).integers(0, 256, (count, 71, 71, 3), np.uint8)
    images[:] += np.arange(count, dtype=np.uint8)[:, None, None, None]
    found = forward(images)
    assert [len(part) for part in found] == [count] * 6
    for number in {0, count // 2, count - 1} if count else set():
        for part, alone in zip(found, forward(images[number : number + 1]), strict=True):
            np.testing.assert_allclose(part[number], alone[0], atol=1e-6 * max(1.0, float(np.abs(alone).max())))


def test_an_image_of_any_layout_in_memory_has_the_same_answer(forward: Any) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, 71, 71, 3), np.uint8)
    for part, other in zip(forward(np.asfortranarray(images)), forward(images), strict=True):
        np.testing.assert_array_equal(part, other)


def test_openvino_computes_in_float32_with_the_tasks_threads_and_pins_none(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take bfloat16 where a processor has it, and pin every process to the same cores."""
    ov, compiled = openvino(), []
    compile_model = ov.Core.compile_model

    def watched(*given: Any) -> Any:
        compiled.append(compile_model(*given))
        return compiled[-1]

    monkeypatch.setattr(ov.Core, "compile_model", watched)
    serving.open(threads=2)
    [model] = compiled
    assert model.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32
    assert model.get_property("ENABLE_CPU_PINNING") is False
    assert model.get_property("INFERENCE_NUM_THREADS") == 2
    assert int(model.get_property("NUM_STREAMS")) == 2


def test_bfloat16_answers_nearly_the_same(serving: Serving, forward: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor lacks the instructions, OpenVINO computes in float32 whatever it is told."""
    monkeypatch.setattr(openvino_engine, "multiplies_bfloat16", lambda: True)
    images = sample_images(serving.release.decode_px)
    for expected, found in zip(forward(images)[:3], serving.open(precision="bfloat16")(images)[:3], strict=True):
        np.testing.assert_allclose(found, expected, atol=0.05)


def test_a_processor_without_the_instructions_computes_nothing_in_bfloat16(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "multiplies_bfloat16", lambda: False)
    with pytest.raises(EngineError, match=r"the processor has no instructions for bfloat16.*end this executor, or set"):
        serving.open(precision="bfloat16")
    with pytest.raises(EngineError, match=r"expected float32 or bfloat16, received 'mixed_float16'; correct it"):
        serving.open(precision="mixed_float16")


def test_a_piece_fits_the_caches() -> None:
    assert [piece_of(side_px) for side_px in (32, 71, 224, 299, 600)] == [16, 16, 2, 1, 1]
    assert usable_cores(1) == 1
    assert 1 <= usable_cores(10_000) == usable_cores()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True, None])
def test_nonsense_of_threads_is_one_sentence(serving: Serving, threads: Any) -> None:
    with pytest.raises(EngineError, match=r"expected a number of threads from 1, received"):
        serving.open(threads=threads)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("", r"expected OpenVINO 2026\.4, found none; install the version that requirements\.txt names"),
        ("2025.4.1", r"expected OpenVINO 2026\.4, found 2025\.4\.1; install"),
        ("2026.4.9", r"expected OpenVINO 2026\.4\.1, which converted the release, found 2026\.4\.9; install"),
    ],
)
def test_openvino_of_another_version_is_one_sentence(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, found: str, words: str
) -> None:
    monkeypatch.setattr(converted, "version", lambda _: found)
    with pytest.raises(EngineError, match=words):
        serving.open(converted=replace(serving.converted, openvino="2026.4.1"))


def test_openvino_that_cannot_be_imported_is_one_sentence(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> None:
        raise ImportError("libopenvino.so: cannot open shared object file\n  of 1")

    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(openvino_engine, "import_module", broken)
    with pytest.raises(EngineError) as refused:
        serving.open()
    assert str(refused.value) == (
        "OpenVINO is installed, but cannot be imported (libopenvino.so: cannot open shared object file); install "
        "again what requirements.txt names, or set SHELFWISE_ENGINE=keras"
    )
    assert "openvino.tools.ovc" not in sys.modules


@pytest.mark.parametrize("step", ["read_model", "compile_model"])
def test_what_openvino_can_neither_read_nor_compile_is_one_sentence(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = openvino().Core

    class Core:
        def __getattr__(self, name: str) -> Any:
            return unable if name == step else getattr(real(), name)

    def unable(*_given: object) -> None:
        raise RuntimeError("Exception from core.cpp:84:\nCheck 'x' failed at y:\n-- No kernel\nAdvice\n")

    monkeypatch.setattr(openvino(), "Core", Core)
    with pytest.raises(EngineError) as refused:
        serving.open()
    assert str(refused.value) == (
        "OpenVINO cannot compute the converted release on this processor (No kernel); set SHELFWISE_ENGINE=keras"
    )


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
@pytest.mark.parametrize("fault", ["altered", "missing"])
def test_a_damaged_conversion_is_refused(serving: Serving, tmp_path: Path, suffix: str, fault: str) -> None:
    shutil.copytree(serving.files, tmp_path / "arrived")
    [file] = (tmp_path / "arrived").glob(f"*{suffix}")
    if fault == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(EngineError, match=rf"the converted release .*\{suffix} (was altered|cannot be read)"):
        serving.open(files=tmp_path / "arrived")


def test_a_conversion_of_another_release_is_refused(serving: Serving, tiny_release: Path) -> None:
    engine = OpenVinoEngine(serving.converted, serving.files, 1)
    with pytest.raises(EngineError, match="expected the networks of release tiny-1, found others"):
        engine.open(load_release(tiny_release), tiny_release)


def changed(release: Release, **changes: Any) -> Release:
    return replace(release, networks=(replace(release.networks[0], **changes), *release.networks[1:]))


def test_the_key_of_a_conversion_is_of_all_that_the_networks_compute(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = serving.release
    assert conversion_key(replace(release, temperature=2.0, floor=0.5, release_id="other")) == conversion_key(release)
    assert conversion_key(changed(release, ensemble_weight=0.9, weights_file="w")) == conversion_key(release)
    others = [
        changed(release, weights_sha256="0" * 64),
        changed(release, input_px=36),
        changed(release, input_px=80),  # the size to which images are decoded
        changed(release, preprocessing="0-1"),
        changed(release, head=None),
        changed(release, architecture="efficientnetb1"),
        replace(release, networks=release.networks[::-1]),
        replace(release, categories=release.categories[:2]),
    ]
    keys = {conversion_key(other) for other in (release, *others)}
    assert len(keys) == 1 + len(others)
    monkeypatch.setattr(converted, "version", lambda _: "0")
    keys.add(conversion_key(release))
    monkeypatch.setattr(converted, "CONVERTER", 0)
    keys.add(conversion_key(release))
    assert len(keys) == 3 + len(others)


def test_a_description_is_read_as_it_was_written(serving: Serving, tmp_path: Path) -> None:
    write_manifest(serving.converted, tmp_path / "manifest")
    assert read_manifest(tmp_path / "manifest") == serving.converted
    whole = (tmp_path / "manifest").read_text()
    no_text = whole.replace(f'"{serving.converted.key}"', "7")
    for text in ("", "[]", "{}", '{"key": 1}', whole.replace("key", "kay"), no_text):
        (tmp_path / "broken").write_text(text)
        with pytest.raises(EngineError, match="does not describe a converted release"):
            read_manifest(tmp_path / "broken")


def test_a_weight_that_is_not_finite_is_computed_by_no_engine(tiny_release: Path, tmp_path: Path) -> None:
    """One engine answers with zeros where the other gives no number."""
    broken = broken_release(tiny_release, tmp_path)
    release = load_release(broken)
    words = r"a weight of the efficientnetb0 of release broken-1, .*kernel, is not a finite number; train the network"
    with pytest.raises(ReleaseError, match=words):
        convert(release, broken, tmp_path)
    precisions: tuple[Precision, ...] = ("float32", "mixed_float16")
    for precision in precisions:
        with pytest.raises(ReleaseError, match=words):
            KerasEngine(precision).open(release, broken)


def test_a_graph_that_openvino_cannot_convert_is_refused_with_the_operations_that_it_lacks() -> None:
    import tensorflow as tf

    def unknown(images: Any) -> list[Any]:
        halves = tf.cast(images, tf.float32) / 512
        return [tf.reshape(tf.raw_ops.Igamma(a=halves + 1, x=tf.math.erfinv(halves)), (-1, 48))]

    signature = tf.TensorSpec((None, 4, 4, 3), tf.uint8, name="images")
    graph = tf.function(unknown, input_signature=[signature], autograph=False).get_concrete_function()
    with pytest.raises(ConversionRefused) as refused:
        conversion.openvino_model(graph)
    expected = "OpenVINO cannot convert it (No conversion rule found for operations: Erfinv, Igamma)"
    assert str(refused.value) == expected


def test_weights_that_stay_variables_are_refused() -> None:
    import tensorflow as tf

    weight = tf.Variable(2.0)
    signature = tf.TensorSpec((None, 4, 4, 3), tf.uint8, name="images")

    def scaled(images: Any) -> list[Any]:
        return [tf.reshape(tf.cast(images, tf.float32) * weight, (-1, 48))]

    graph = tf.function(scaled, input_signature=[signature], autograph=False).get_concrete_function()
    with pytest.raises(ConversionRefused, match="its weights are too large for one graph"):
        conversion.openvino_model(graph)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Exception from core.cpp:84:\nCheck 'x' failed at y:\n-- One\n-- Two\nAdvice\n\n", "One; Two"),
        ("Exception from core.cpp:84:\nException from b:1:\nUnable to read the model\n\n", "Unable to read the model"),
        ("Check 'x' failed", "Check 'x' failed"),
        ("", ""),
    ],
)
def test_the_reason_of_openvino_is_found_among_places_and_advice(message: str, reason: str) -> None:
    assert reason_in(message) == reason


@pytest.mark.parametrize("part", [0, 1])
def test_a_conversion_that_answers_differently_is_refused(
    tiny_release: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    def keras(images: Images) -> list[Any]:
        return [np.full((len(images), 3), 0.5, np.float32), np.ones((len(images), 8), np.float32)]

    def other(images: Images) -> list[Any]:
        parts = keras(images)
        parts[part][-1, -1] += 1e-4
        return parts

    release = load_release(tiny_release)
    conversion._compare(release, keras, keras)
    with pytest.raises(ConversionRefused, match=r"of its efficientnetb0 differ by 1\.0e-04 between OpenVINO and Keras"):
        conversion._compare(release, keras, other)


@pytest.mark.parametrize(
    ("names", "visible", "may"),
    [
        ((), None, False),
        (("null", "tty0"), None, False),
        (("nvidia0",), None, True),
        (("nvidiactl",), "0", True),
        (("nvidia0",), "", False),
        (("nvidia0",), "-1", False),
        (("kfd",), None, True),
        (("accel0",), None, True),
        (("vfio/0",), None, True),
        (("vfio/vfio",), None, False),
        (("accel/accel0",), None, False),
    ],
)
def test_a_backend_is_asked_only_where_there_may_be_an_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], visible: str | None, may: bool
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert devices.may_have_accelerator(tmp_path) is may
    monkeypatch.setattr("sys.platform", "darwin")
    assert devices.may_have_accelerator(tmp_path), "no device files show it there"


def test_the_files_of_a_conversion_have_names_of_their_own(serving: Serving) -> None:
    """Spark sends them into one directory with those of other releases."""
    assert sorted(path.name for path in serving.files.iterdir()) == sorted(serving.converted.files)
    assert all(serving.converted.key in name for name in serving.converted.files)
    assert isinstance(serving.converted, Converted)
