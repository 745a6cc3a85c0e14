-- Purpose: the answers of products that no catalog names any more, those that left last first.
-- Grain: one row per product that has left and had an answer.
-- Order: left_at DESC, product_id
SELECT
    answer.product_id,
    answer.left_at,
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
WHERE answer.left_at IS NOT NULL
