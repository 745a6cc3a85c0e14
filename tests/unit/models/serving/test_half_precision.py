"""Training in half precision: where it is done, that it goes on after a stop, and that it leaves float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from models.networks.inputs import network_input
from models.serving import devices
from models.serving.devices import Device
from models.training import checkpoints
from models.training import loop as training
from models.training.loop import train
from models.training.recipe import CHECKPOINT
from tests import tiny_network
from tests.unit.models.training.test_training import FAST, SPEC, Colours, nothing, task, tiny_architecture

__all__ = ["tiny_architecture"]  # a fixture of all tests here


def test_mixed_precision_resumes_with_its_loss_scale_and_gives_float32_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "device", lambda: Device("an accelerator", True))
    mixed = replace(FAST, mixed_precision=True)

    def stop(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task(tmp_path), mixed, Colours(), start=nothing, watch=stop)
    assert keras.config.dtype_policy().name == "float32", "it is not left behind for others"
    held = checkpoints.load(tmp_path / "work" / CHECKPOINT)
    assert held is not None
    assert any(np.size(value) == 1 and float(np.ravel(value)[0]) >= 2**10 for value in held.optimizer), "the loss scale"
    model, progress = train(task(tmp_path), mixed, Colours(), start=pytest.fail)
    assert progress.epochs == 3
    assert {str(value.dtype) for value in model.get_weights()} == {"float32"}
    assert all(np.isfinite(value).all() for value in model.get_weights())


def test_mixed_precision_without_an_accelerator_is_float32_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (devices, training):
        monkeypatch.setattr(module, "device", lambda: Device("CPU, a slow one", False))
    _, progress = train(task(tmp_path), replace(FAST, epochs=0, mixed_precision=True), Colours(), start=nothing)
    assert "half precision gains nothing for tiny on CPU, a slow one; it computes in float32" in caplog.text
    assert progress.recipes[-1]["recipe"]["mixed_precision"] is False


@pytest.mark.parametrize(
    ("flags", "faster", "expected"),
    [
        ("fma avx512_bf16", (tiny_network.NAME,), "mixed_bfloat16"),
        ("fma amx_bf16", (tiny_network.NAME,), "mixed_bfloat16"),
        ("fma avx512f", (tiny_network.NAME,), None),
        ("fma avx512_bf16", (), None),
    ],
)
def test_a_processor_with_bfloat16_uses_it_for_the_networks_that_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, faster: tuple[str, ...], expected: str | None
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: One\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(devices, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "FASTER_IN_BFLOAT16", faster)
    assert devices.half_precision(tiny_network.NAME) == expected


def test_bfloat16_trains_to_nearly_the_same_network_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "cpuinfo").write_text("flags : avx512_bf16\n")
    monkeypatch.setattr(devices, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "FASTER_IN_BFLOAT16", (tiny_network.NAME,))
    full, _ = train(task(tmp_path / "full"), FAST, Colours(), start=nothing)
    half, progress = train(task(tmp_path / "half"), replace(FAST, mixed_precision=True), Colours(), start=nothing)
    assert "in mixed_bfloat16" in caplog.text
    assert progress.recipes[-1]["recipe"]["mixed_precision"] is True
    assert {str(value.dtype) for value in half.get_weights()} == {"float32"}
    images = next(Colours().held_out())[0].astype(np.float32)
    one, other = (np.asarray(model(network_input(images, SPEC))) for model in (full, half))
    assert 0 < np.abs(one - other).max() < 0.1 * np.abs(one).max()
