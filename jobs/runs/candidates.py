"""After a run is published: choose the waiting products whose labels would teach most, for people to begin with.

Reads the descriptors in thumbnails/run_id=R/ of the release's latest runs, and the answers in the product database.
Writes the table `label_candidates`. This only helps: whatever goes wrong is one line in the log, the run stands, and
the candidates of an earlier run stay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.errors import RunFailed
from jobs.runs.config import RunContext
from jobs.storage.places import Place, Places
from jobs.storage.stores import children, reading
from models.answers.candidates import Waiting, choose, doubt_of
from models.known.images import read_known
from sql.errors import DatabaseError
from sql.label_candidates import PicturedAnswer, keep_candidates, pictured_answers, runs_of_release
from sql.store import ProductDatabase

CANDIDATES = 500
"""Most products that are chosen."""

MOST_PICTURES = 20_000
"""Most pictures that are looked at, those of the latest runs: a night spends seconds here, not minutes."""

MOST_RUNS = 30
"""Most runs whose files are looked for."""

Descriptors = dict[tuple[str, str], bytes]
"""The descriptor of each picture, by product_id and image_sha256."""

_COLUMNS = ["product_id", "image_sha256", "descriptor"]

log = logging.getLogger(__name__)


def offer_candidates(context: RunContext, database: ProductDatabase, run_id: str) -> None:
    """Choose the waiting products whose labels would teach most, and replace the table of candidates with them.

    The table stays as it is if the release describes no images, no product with a descriptor waits, or anything fails.

    Args:
        context: Places and release.
        database: Migrated database, after the publish of the run.
        run_id: The published run.
    """
    try:
        chosen = _chosen(context, database)
        if chosen:
            release_id = context.release.release_id
            keep_candidates(database, chosen, run_id=run_id, release_id=release_id, at_utc=datetime.now(UTC))
            log.info("label candidates: %s products whose labels would teach most", f"{len(chosen):,}")
    except (RunFailed, DatabaseError, pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0][:200]
        log.warning("label candidates: not chosen, those of an earlier run stay: %s", detail)


def _chosen(context: RunContext, database: ProductDatabase) -> list[str]:
    release = context.release
    if release.known is None:
        return []
    found = _descriptors(context.places, runs_of_release(database, release.release_id, limit=MOST_RUNS))
    if not found:
        return []
    known = read_known(context.release_dir / release.known.file)
    scale = np.concatenate([network.scale for network in known.networks.values()])
    answers = pictured_answers(database, sorted({product_id for product_id, _ in found}), release.release_id)
    waiting = [answer for answer in _first_pictures(answers, found) if not answer.decided]
    decided = [answer for answer in answers if answer.decided and (answer.product_id, answer.image_sha256) in found]
    doubts = np.array([doubt_of(list(answer.confidences)) for answer in waiting], np.float64)
    rows = choose(Waiting(_matrix(waiting, found, scale), doubts), CANDIDATES, labelled=_matrix(decided, found, scale))
    return [waiting[row].product_id for row in rows]


def _first_pictures(answers: list[PicturedAnswer], found: Descriptors) -> Iterator[PicturedAnswer]:
    """Yield the first picture of each product that has a descriptor; a person is asked about a product once."""
    last = None
    for answer in answers:
        if answer.product_id != last and (answer.product_id, answer.image_sha256) in found:
            last = answer.product_id
            yield answer


def _matrix(answers: list[PicturedAnswer], found: Descriptors, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the descriptors of pictures, float32 (pictures, dimensions); zeros for one of another length."""
    values = np.zeros((len(answers), len(scale)), np.float32)
    for row, answer in enumerate(answers):
        descriptor = np.frombuffer(found[answer.product_id, answer.image_sha256], np.int8)
        if len(descriptor) == len(scale):
            values[row] = descriptor * scale
    return values


def _descriptors(places: Places, run_ids: list[str]) -> Descriptors:
    """Read the descriptors of the first runs, as many as count; of a picture that several runs have, the first one."""
    found: Descriptors = {}
    for run_id in run_ids:
        for day in children(places.thumbnails(run_id), "ingest_date=*"):
            for file in children(day, "*.parquet"):
                for row in _read(file):
                    if row["descriptor"] is not None and len(found) < MOST_PICTURES:
                        found.setdefault((row["product_id"], row["image_sha256"]), row["descriptor"])
                if len(found) >= MOST_PICTURES:
                    return found
    return found


def _read(file: Place) -> list[dict[str, Any]]:
    """Read the columns of one file that count; its pictures are not read."""
    rows: list[dict[str, Any]] = reading(file, lambda opened: pq.read_table(opened, columns=_COLUMNS)).to_pylist()
    return rows
