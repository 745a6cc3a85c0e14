-- Purpose: a run and the earlier runs of its kind that were not retracted, the latest first, with counts and durations.
-- Parameter: run_id (text) The run.
-- Grain: one row per run.
SELECT
    run.run_id,
    run.run_date,
    run.release_id,
    run.state,
    run.counts,
    run.started_at_utc,
    run.finished_at_utc
FROM runs AS run
INNER JOIN runs AS present
    ON run.kind = present.kind AND (run.run_date, run.started_at_utc) <= (present.run_date, present.started_at_utc)
WHERE present.run_id = :run_id AND (run.retracted_at_utc IS NULL OR run.run_id = :run_id)
ORDER BY run.run_date DESC, run.started_at_utc DESC, run.run_id
