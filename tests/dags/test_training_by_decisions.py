"""A real scheduler starts a training when people have decided enough; a person still approves its release."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dags.conftest import LocalAirflow, local_airflow, until
from tests.dags.stand_in import StandIn
from tests.dags.test_scheduler import NIGHT, TRAINING, runs_of

pytestmark = pytest.mark.timeout(900)  # the machine may be busy


@pytest.fixture(scope="module")
def scheduling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """An Airflow that begins runs by itself, one of them a night at once; none of its jobs is real."""
    place = tmp_path_factory.mktemp("scheduling")
    schedules = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
    with local_airflow(place, StandIn(place / "jobs"), schedules) as started:
        yield started


def test_a_night_after_which_people_have_decided_enough_starts_a_training_once(scheduling: LocalAirflow) -> None:
    """A person still approves; and what one event told of starts no other training, whatever that person says."""
    told = {"release_id": "tuned-1", "learned_until": 4, "decided_count": 3, "last_override_id": 9}
    scheduling.jobs.order("decisions_since_training", prints=[told])
    scheduling.jobs.order("decisions_since_training", "--param=after=9", prints=[{**told, "decided_count": 2}])
    scheduling.jobs.order("release", "show", prints={"release_id": "tiny-1", "release": "/releases/tiny-1"})
    scheduling.jobs.order("evaluate", prints="| release | accuracy |\n")
    form = {"retrain_after": 3}
    few = scheduling.api.trigger(NIGHT, logical_date="2026-11-10", conf={"retrain_after": 4})
    assert scheduling.api.wait(NIGHT, few) == "success", scheduling.alerts
    assert scheduling.api.states(NIGHT, few)["decisions"] == "skipped"
    enough = scheduling.api.trigger(NIGHT, logical_date="2026-11-11", conf=form)
    assert scheduling.api.wait(NIGHT, enough) == "success", scheduling.alerts
    assert scheduling.api.states(NIGHT, enough)["decisions"] == "success"
    [training] = until(lambda: runs_of(scheduling, TRAINING))
    scheduling.asked(TRAINING, training, "approve")
    again = scheduling.api.trigger(NIGHT, logical_date="2026-11-12", conf=form)
    assert scheduling.api.wait(NIGHT, again) == "success", scheduling.alerts
    assert scheduling.api.states(NIGHT, again)["decisions"] == "skipped"
    counted = [call.arguments[-1] for call in scheduling.jobs.calls("decisions_since_training")]
    assert counted == ["--param=after=0", "--param=after=0", "--param=after=9"]
    [*_, trained] = scheduling.jobs.calls("finetune")
    assert trained.arguments[2].startswith("learned-20")
    assert trained.arguments[3:] == ("--start-from=imagenet", "--json")
    scheduling.api.answer(TRAINING, training, "approve", "Reject")
    assert scheduling.api.wait(TRAINING, training) == "success", scheduling.alerts
    assert runs_of(scheduling, TRAINING) == [training]
