"""What a quick fine-tuning is asked for: the release, its networks, and the products to learn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jobs.evaluation.config import EvaluateConfig
from jobs.releases.calibrate import Promise
from jobs.storage.places import Places
from jobs.training.selection import Selection


@dataclass(frozen=True)
class QuickNetwork:
    """A network of the release to be made.

    Attributes:
        architecture: Key of `models.networks.registry.ARCHITECTURES`.
        input_px: Side of the network's square input, in pixels.
        start: Weights of its backbone: `imagenet`, a weights file, or a release's directory.
    """

    architecture: str
    input_px: int
    start: str


@dataclass(frozen=True)
class QuickConfig:
    """Configuration of a quick fine-tuning.

    Attributes:
        release_id: Identifier of the new release.
        selection: Labelled products to learn from.
        networks: Networks of the release, at least one.
        batch_size: Images per call of a backbone.
        decode_workers: Number of decoding threads.
        promise: Precision and floor for the release's thresholds.
        seed: Seed of the folds.
        engine: What computes the features, `auto`, `openvino` or `keras`.
        vouched: Whether a person says that the start weights saw none of the products, where nobody knows it.
        command: Command line as the user typed it, for the model card.
    """

    release_id: str
    selection: Selection
    networks: tuple[QuickNetwork, ...]
    batch_size: int = 32
    decode_workers: int = 2
    promise: Promise = field(default_factory=Promise)
    seed: int = 7
    engine: str = "auto"
    vouched: bool = False
    command: str = ""

    @property
    def places(self) -> Places:
        """Directories and stores of the home."""
        return self.selection.places

    @property
    def decode_px(self) -> int:
        """Side of the squares to which images are decoded, in pixels."""
        return max(network.input_px for network in self.networks)

    @property
    def reading(self) -> EvaluateConfig:
        """Settings for reading images."""
        return EvaluateConfig(self.places, batch_size=self.batch_size, decode_workers=self.decode_workers)

    @property
    def target(self) -> Path:
        """Directory of the new release."""
        return self.places.local_home / "releases" / self.release_id
