"""Features are the same by OpenVINO and by Keras; OpenVINO computes them on processors where it can."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from models.networks.backbones import HEAD
from models.networks.registry import architecture
from models.serving import conversion, features
from models.serving.conversion import sample_images
from models.serving.devices import Device
from models.serving.engines import OPENVINO, ConversionRefused, EngineError
from models.serving.features import FeatureExtractor, feature_engine
from models.spec import NetworkSpec

NETWORK = NetworkSpec("efficientnetb0", 32, "w", "", 1.0, "-1-1")
SIDE_PX = 48


@pytest.fixture(scope="module")
def backbone() -> Any:
    import keras

    keras.utils.set_random_seed(3)
    model = architecture("efficientnetb0").build(input_px=32, categories=3)
    return keras.Model(model.input, model.get_layer(HEAD).input)


def by(engine: str, backbone: Any) -> FeatureExtractor:
    return FeatureExtractor(backbone, NETWORK, side_px=SIDE_PX, engine=engine)


def test_both_engines_give_the_same_features(backbone: Any) -> None:
    images = sample_images(SIDE_PX)
    expected, found = (by(engine, backbone)(images) for engine in ("tensorflow", OPENVINO))
    assert found.shape == (len(images), 1280)
    assert by(OPENVINO, backbone).engine == OPENVINO
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def test_a_backbone_that_openvino_computes_otherwise_is_computed_by_keras(
    backbone: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_given: object, **_options: object) -> None:
        raise ConversionRefused("the features differ")

    monkeypatch.setattr(conversion, "compare", refused)
    caplog.set_level(logging.WARNING)
    images = sample_images(SIDE_PX)[:3]
    fallen_back = by(OPENVINO, backbone)
    np.testing.assert_array_equal(fallen_back(images), by("tensorflow", backbone)(images))
    assert fallen_back.engine == "tensorflow"
    assert "features of efficientnetb0 are computed by Keras, which is slower: the features differ" in caplog.text


@pytest.mark.parametrize(
    ("demanded", "accelerator", "engine"),
    [
        ("auto", False, OPENVINO),
        ("auto", True, "tensorflow"),
        ("keras", False, "tensorflow"),
        ("openvino", True, OPENVINO),
    ],
)
def test_processors_compute_by_openvino_and_accelerators_by_keras(
    demanded: str, accelerator: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "device", lambda: Device("a device", accelerator))
    assert feature_engine(demanded) == engine


def test_without_openvino_keras_computes_unless_openvino_is_demanded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> str:
        raise EngineError("expected OpenVINO 2026.4, found none")

    monkeypatch.setattr(features, "check_openvino", missing)
    assert feature_engine("auto") == "tensorflow"
    assert "features are computed by Keras, which is slower on processors: expected OpenVINO" in caplog.text
    with pytest.raises(EngineError, match="expected OpenVINO"):
        feature_engine("openvino")
