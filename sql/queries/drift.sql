-- Purpose: how the shares of the categories and the mean confidence differ between two runs' images.
-- Parameter: run_id (text) The run to examine.
-- Parameter: reference_run_id (text) The run to compare with.
-- Grain: one row per category of either run.
WITH sized AS (
    SELECT
        run_id,
        category_id,
        image_count,
        CAST(image_count AS DOUBLE PRECISION) / nullif(sum(image_count) OVER (PARTITION BY run_id), 0) AS share,
        CAST(confidence_sum_e9 AS DOUBLE PRECISION) / nullif(image_count, 0) / 1000000000 AS mean_confidence
    FROM run_category_counts
    WHERE run_id IN (:run_id, :reference_run_id)
),
present AS (SELECT category_id, image_count, share, mean_confidence FROM sized WHERE run_id = :run_id),
reference AS (SELECT category_id, image_count, share, mean_confidence FROM sized WHERE run_id = :reference_run_id)
SELECT
    nullif(coalesce(present.category_id, reference.category_id), '') AS category_id,
    coalesce(present.image_count, 0) AS image_count,
    coalesce(reference.image_count, 0) AS reference_image_count,
    coalesce(present.share, 0) AS share,
    coalesce(reference.share, 0) AS reference_share,
    coalesce(present.share, 0) - coalesce(reference.share, 0) AS share_change,
    present.mean_confidence,
    reference.mean_confidence AS reference_mean_confidence,
    present.mean_confidence - reference.mean_confidence AS mean_confidence_change
FROM present
FULL JOIN reference ON reference.category_id = present.category_id
WHERE coalesce(present.image_count, 0) + coalesce(reference.image_count, 0) > 0
ORDER BY abs(coalesce(present.share, 0) - coalesce(reference.share, 0)) DESC, category_id
