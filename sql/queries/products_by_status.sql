-- Purpose: how many products need no person, wait for one, have no answer or were decided by one; reads running totals.
-- Grain: one row per status that occurs.
SELECT
    status,
    CAST(sum(product_count) AS BIGINT) AS product_count
FROM category_totals
GROUP BY status
ORDER BY status
