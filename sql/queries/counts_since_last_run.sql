-- Purpose: how many products each category has now, the share that needs no person, and the change by the last run.
-- Grain: one row per category that has products, or had some before the last published run that was not retracted.
WITH ranked_runs AS (
    SELECT run_id, row_number() OVER (ORDER BY finished_at_utc DESC, run_id DESC) AS place
    FROM runs
    WHERE state = 'published' AND retracted_at_utc IS NULL
),
earlier AS (
    SELECT counted.category_id, counted.product_count
    FROM run_category_counts AS counted
    INNER JOIN ranked_runs ON ranked_runs.run_id = counted.run_id
    WHERE ranked_runs.place = 2 AND counted.product_count > 0
),
present AS (
    SELECT
        category_id,
        CAST(sum(product_count) AS BIGINT) AS product_count,
        CAST(
            sum(CASE WHEN status IN ('auto', 'manual') AND review_reason = '' THEN product_count ELSE 0 END) AS BIGINT
        ) AS settled_count
    FROM category_totals
    GROUP BY category_id
)
SELECT
    nullif(coalesce(present.category_id, earlier.category_id), '') AS category_id,
    category.category_path,
    coalesce(present.product_count, 0) AS product_count,
    coalesce(present.product_count, 0) - coalesce(earlier.product_count, 0) AS change_count,
    CAST(present.settled_count AS DOUBLE PRECISION) / present.product_count AS coverage
FROM present
FULL JOIN earlier ON earlier.category_id = present.category_id
LEFT JOIN categories AS category ON category.category_id = coalesce(present.category_id, earlier.category_id)
ORDER BY product_count DESC, category_id
