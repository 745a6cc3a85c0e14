"""What evaluation says of a product is what predict stores and publish decides; more categories than are stored."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli.decisions import override
from jobs.dataset.labels import labelled_images
from jobs.dataset.shards import shards
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.product_predictions import measure
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file
from jobs.releases import aliases as releases
from jobs.releases.records import category_records, decider, manifest_of, release_record
from jobs.settings import Settings
from jobs.storage.places import Places
from models.answers.decision import Policy
from models.answers.products import (
    TOP_K,
    ImageVote,
    answer_of_image,
    answer_of_images,
    answer_of_product,
    best,
    distribution_of_product,
)
from models.answers.reasons import first_of
from models.release import SHIPPED, Release, load_release
from models.spec import Category, Images, NetworkSpec, Predictions
from sql.named_queries import run_query
from sql.records import RunRecord, StoredImage
from sql.store import open_database
from tests.labelled import DAY, write_labelled
from tests.played_gate import PlayedGate, knowing

LEAVES = tuple(f"group-{number % 3}.leaf-{number}" for number in range(9))
RELEASE = Release(
    "nine-1",
    "nine",
    tuple(Category(leaf, leaf) for leaf in LEAVES),
    (NetworkSpec("efficientnetb0", 32, "w", "", 1.0),),
    temperature=1.0,
    thresholds={**dict.fromkeys(LEAVES, 0.3), "group-0": 0.45, "group-1": 0.4, "group-2": 0.5},
    floor=0.1,
)


class Dreamer:
    """Says something else, spread over all nine leaves, of every image."""

    decode_px = 32

    def predict(self, images: Images) -> Predictions:
        draws = [np.random.default_rng(int(image.sum())) for image in images.astype(np.int64)]
        confidences = np.array([draw.dirichlet(np.full(9, 0.8)) for draw in draws], np.float32)
        features = np.array([draw.choice([0.5, 1.5, np.nan], 2, p=[0.5, 0.3, 0.2]) for draw in draws], np.float32)
        return Predictions(confidences, {"efficientnetb0": confidences}, {"efficientnetb0": features})


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Forty products of one to four images, each image of another shade."""
    from tests import labelled

    made = iter(range(10_000))
    plain = labelled.jpeg_of
    monkeypatch.setattr(labelled, "jpeg_of", lambda channel: plain(channel, shade=40 + next(made) * 2))
    products = [(f"p{number:02d}", LEAVES[number % 9], [number % 3] * (1 + number % 4)) for number in range(40)]
    write_labelled(Places(tmp_path), products)
    return Places(tmp_path)


@pytest.mark.parametrize("held", [None, (), LEAVES[:3]])
def test_evaluation_answers_every_product_as_publish_does(
    places: Places, monkeypatch: pytest.MonkeyPatch, held: tuple[str, ...] | None
) -> None:
    """Without a gate; with one that some images do not pass; and with some groups held back beside."""
    monkeypatch.setattr(
        "jobs.evaluation.gates.foreign_groups", lambda counts: [leaf for leaf in held or () if leaf in counts]
    )
    monkeypatch.setattr("jobs.evaluation.gates.foreign_whole", lambda counts: False)
    release, gate = (RELEASE, None) if held is None else (knowing(RELEASE), PlayedGate())
    measured = measure(Dreamer(), release, labelled_images(places), EvaluateConfig(places, batch_size=7), gate)
    evaluated = dict(zip(measured.product_ids, measured.answers, strict=True))

    config = PredictConfig("run-1", (DAY,), places, Path("unused"), batch_size=5)
    (shard,) = shards(places.images, [DAY])
    predict_shard(shard, Dreamer(), release, config, gate=gate)
    rows = defaultdict(list)
    for row in pq.read_table(prediction_file(config, shard)).to_pylist():
        rows[row["product_id"]].append(row)
    combine = decider(manifest_of(release))
    kinds = set()
    for product_id, images in rows.items():
        tops = [json.loads(image["top_k"]) for image in images]
        held_by = ["foreign_group" if top[0][0] in (held or ()) else None for top in tops]
        reasons = [image["review_reason"] for image in images]
        decided = combine([StoredImage(*stored) for stored in zip(tops, reasons, held_by, strict=True)])
        published = (decided.category_id, decided.confidence, decided.status, decided.review_reason)
        if len(images) == 1:
            status = "review" if held_by[0] and images[0]["status"] == "auto" else images[0]["status"]
            reason = first_of((held_by[0], reasons[0]))
            published = (images[0]["category_id"], images[0]["confidence"], status, reason)
        answer = evaluated[product_id]
        assert (answer.category_id, answer.confidence, answer.status, answer.review_reason) == published, product_id
        kinds.add((answer.status, answer.category_id in LEAVES, answer.review_reason))
    assert len(rows) == 40
    assert len({kind[:2] for kind in kinds}) >= 3, "leaves, groups and open ones are among them"
    seen = {reason for _, _, reason in kinds}
    assert ({"foreign_image", "gate_closed"} <= seen) == (gate is not None)
    assert ("foreign_group" in seen) == bool(held)


distributions = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(
    lambda seeds: np.array([np.random.default_rng(seed).dirichlet(np.full(9, 0.5)) for seed in seeds], np.float32)
)


@given(distributions)
def test_the_measured_distribution_is_the_one_that_decides_the_answer(rows: np.ndarray) -> None:
    row = distribution_of_product(LEAVES, rows)
    answer = answer_of_product(LEAVES, rows, Policy(dict.fromkeys(LEAVES, 0.0)))
    assert answer.confidence == pytest.approx(np.max(row), abs=1e-6)
    assert (row > 0).sum() <= TOP_K * len(rows) if len(rows) > 1 else row.sum() == pytest.approx(1, abs=1e-6)


def test_an_image_is_decided_from_its_five_best_categories() -> None:
    row = np.array([0.05, 0.31, 0.02, 0.29, 0.01, 0.2, 0.1, 0.015, 0.005], np.float32)
    assert best(LEAVES, row) == [(LEAVES[i], round(float(row[i]), 6)) for i in (1, 3, 5, 6, 0)]
    policy = replace(RELEASE, thresholds=dict.fromkeys(LEAVES, 0.25)).policy
    assert answer_of_image(LEAVES, row, policy) == answer_of_images([ImageVote(best(LEAVES, row))], policy)


def test_an_override_that_is_cleared_is_decided_by_the_release_that_answered(home: Path) -> None:
    """The champion's thresholds once turned `review` into `auto`. The directory of who answered may be gone."""
    shipped = load_release(SHIPPED)
    careful = replace(shipped, release_id="careful-1", thresholds=dict.fromkeys(shipped.thresholds))
    database = open_database(Settings().url)
    database.upgrade()
    sure = json.dumps([["footwear.open.sandal", 0.99]])
    day, answer = date(2026, 11, 1), ("footwear.open.sandal", 0.99, "review")
    database.publish(
        RunRecord("night", "nightly", day, "careful-1", datetime.now(UTC)),
        predictions=[
            [
                (
                    "p",
                    str(number),
                    number,
                    "p.jpg",
                    day,
                    1,
                    *answer,
                    sure,
                    "{}",
                    "shop",
                    "below_threshold",
                    None,
                    None,
                    None,
                )
                for number in range(2)
            ]
        ],
        rejections=[],
        products=[],
        categories=category_records(careful),
        release=release_record(careful),
        combine=decider(manifest_of(careful)),
    )
    releases.promote(Settings(), database, SHIPPED.name, "champion")
    assert decider(manifest_of(shipped))([StoredImage([("footwear.open.sandal", 0.99)])]).status == "auto"
    for name, *arguments in (("set", "p", "footwear.open.sandal"), ("clear", "p")):
        called = [*arguments, "--by", "ada"]
        CliRunner().invoke(override.commands[name], called, catch_exceptions=False, standalone_mode=False)
    result = run_query(database, "current_categories", {})
    (row,) = (dict(zip(result.columns, row, strict=True)) for row in result.rows)
    assert (row["confidence"], row["status"], row["release_id"]) == (0.99, "review", "careful-1")
