-- Purpose: how a run's images are distributed over the categories, compared with earlier published runs of its kind.
-- Parameter: run_id (text) The run.
-- Parameter: reference_runs (integer, default 7) Number of earlier runs that it is compared with, taken together.
-- Grain: one row per category of any of these runs.
WITH present AS (
    SELECT run_id, kind, run_date, started_at_utc
    FROM runs
    WHERE run_id = :run_id
),
earlier AS (
    SELECT run.run_id
    FROM runs AS run
    INNER JOIN present
        ON run.kind = present.kind AND (run.run_date, run.started_at_utc) < (present.run_date, present.started_at_utc)
    WHERE run.state = 'published' AND run.retracted_at_utc IS NULL
    ORDER BY run.run_date DESC, run.started_at_utc DESC, run.run_id
    LIMIT :reference_runs
),
sized AS (
    SELECT
        counted.category_id,
        sum(CASE WHEN counted.run_id = :run_id THEN counted.image_count ELSE 0 END) AS image_count,
        sum(CASE WHEN counted.run_id <> :run_id THEN counted.image_count ELSE 0 END) AS reference_image_count,
        sum(CASE WHEN counted.run_id = :run_id THEN counted.confidence_sum_e9 ELSE 0 END) AS confidence_sum_e9,
        sum(CASE WHEN counted.run_id <> :run_id THEN counted.confidence_sum_e9 ELSE 0 END)
            AS reference_confidence_sum_e9,
        sum(CASE WHEN counted.run_id = :run_id THEN counted.product_count ELSE 0 END) AS product_count
    FROM run_category_counts AS counted
    WHERE counted.run_id IN (SELECT run_id FROM present UNION ALL SELECT run_id FROM earlier)
    GROUP BY counted.category_id
)
SELECT
    nullif(sized.category_id, '') AS category_id,
    category.category_path,
    CAST(sized.image_count AS BIGINT) AS image_count,
    CAST(sized.reference_image_count AS BIGINT) AS reference_image_count,
    CAST(sized.image_count AS DOUBLE PRECISION) / nullif(sum(sized.image_count) OVER (), 0) AS share,
    CAST(sized.reference_image_count AS DOUBLE PRECISION) / nullif(sum(sized.reference_image_count) OVER (), 0)
        AS reference_share,
    CAST(sized.confidence_sum_e9 AS DOUBLE PRECISION) / nullif(sized.image_count, 0) / 1000000000 AS mean_confidence,
    CAST(sized.reference_confidence_sum_e9 AS DOUBLE PRECISION) / nullif(sized.reference_image_count, 0) / 1000000000
        AS reference_mean_confidence,
    CAST(sized.product_count AS BIGINT) AS product_count
FROM sized
LEFT JOIN categories AS category ON category.category_id = sized.category_id
WHERE sized.image_count + sized.reference_image_count > 0
ORDER BY image_count DESC, reference_image_count DESC, category_id
