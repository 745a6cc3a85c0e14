-- Purpose: how many products have each status: auto, review, unknown or manual (decided by a person); reads running totals.
-- Grain: one row per status that occurs.
SELECT
    status,
    CAST(sum(product_count) AS BIGINT) AS product_count
FROM category_totals
GROUP BY status
ORDER BY status
