-- Purpose: how many products each category has, and how confident the answers are; reads running totals, not the products.
-- Grain: one row per category that has products; category_id is empty for products of status unknown.
-- Order: product_count DESC, category_id
SELECT
    nullif(total.category_id, '') AS category_id,
    category.category_path,
    CAST(sum(total.product_count) AS BIGINT) AS product_count,
    CAST(sum(CASE WHEN total.status = 'auto' THEN total.product_count ELSE 0 END) AS BIGINT) AS auto_count,
    CAST(sum(CASE WHEN total.status = 'review' THEN total.product_count ELSE 0 END) AS BIGINT) AS review_count,
    CAST(sum(CASE WHEN total.status = 'unknown' THEN total.product_count ELSE 0 END) AS BIGINT) AS unknown_count,
    CAST(sum(CASE WHEN total.status = 'manual' THEN total.product_count ELSE 0 END) AS BIGINT) AS manual_count,
    CAST(sum(total.confidence_sum_e9) AS DOUBLE PRECISION) / nullif(sum(total.confidence_count), 0) / 1000000000
        AS mean_confidence
FROM category_totals AS total
LEFT JOIN categories AS category ON category.category_id = total.category_id
GROUP BY total.category_id, category.category_path
