-- Purpose: how many products have each status: auto, review, unknown or manual (a person decided); reads totals.
-- Grain: one row per status that occurs; unknown are also those that a person found to be none of the categories.
SELECT
    status,
    CAST(sum(product_count) AS BIGINT) AS product_count
FROM category_totals
GROUP BY status
ORDER BY status
