-- Purpose: how many products have each status, and why answers wait for a person; reads running totals, not the products.
-- Grain: one row per status and reason that occurs; of status manual only changed_picture waits.
SELECT
    status,
    nullif(review_reason, '') AS review_reason,
    CAST(sum(product_count) AS BIGINT) AS product_count
FROM category_totals
GROUP BY status, review_reason
ORDER BY status, category_totals.review_reason
