-- Purpose: what one run or every run did, the latest first.
-- Parameter: run_id (text, optional) Only this run.
-- Grain: one row per run.
SELECT
    run_id,
    kind,
    run_date,
    release_id,
    state,
    counts,
    seconds,
    summary,
    error,
    started_at_utc,
    finished_at_utc,
    retracted_at_utc
FROM runs
WHERE CAST(:run_id AS TEXT) IS NULL OR run_id = :run_id
ORDER BY run_date DESC, started_at_utc DESC, run_id
