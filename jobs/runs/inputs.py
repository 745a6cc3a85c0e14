"""What the driver of a run has read of the home, passed to the later steps so that none of them reads it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.dataset.partitions import Partition
from jobs.predict.selection import Selected
from jobs.storage.places import Place


@dataclass(frozen=True)
class RunInputs:
    """The images of a run, and the reports of the steps before it predicts.

    Attributes:
        selected: Images to predict, by shard. A shard that came later is missing here; a step reads it then.
        rejections: Rows of `jobs.dataset.schema.SEEN` with their `ingest_date`: images that ingest rejected. Only a
            night publishes them.
        changes: Files of the night under seen/ with image changes; see `jobs.runs.image_changes`.
        steps: Reports of earlier steps by name: `ingest` for a night, if its report is known.
        ingest_no: For a night, the highest ingest_no of its rows under images/, seen/ and catalog_rows/ that were read;
            0 without one.
    """

    selected: tuple[Selected, ...] = ()
    rejections: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[Place, ...] = ()
    steps: Mapping[str, Any] = field(default_factory=dict)
    ingest_no: int = 0


def night_inputs(partition: Partition, ingested: Mapping[str, Any]) -> RunInputs:
    """Return the inputs of a night.

    Args:
        partition: Partition of the night.
        ingested: Report of its ingest; empty if there is none.
    """
    return RunInputs(
        selected=tuple(Selected(shard, images) for shard, images in partition.images_by_shard.items()),
        rejections=tuple(partition.rejections),
        changes=partition.changes,
        steps={"ingest": ingested} if ingested else {},
        ingest_no=partition.ingest_no,
    )
