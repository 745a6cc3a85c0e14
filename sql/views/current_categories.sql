-- Purpose: the current answer of every product that a catalog names.
-- Grain: one row per product that has an answer.
-- Order: product_id
SELECT
    answer.product_id,
    answer.category_id,
    category.category_path,
    answer.confidence,
    answer.status,
    answer.review_reason,
    answer.release_id,
    answer.image_count,
    answer.ingest_date,
    answer.run_id,
    answer.updated_at_utc
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
WHERE answer.left_at IS NULL
