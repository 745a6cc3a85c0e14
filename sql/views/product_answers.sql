-- Purpose: the current answer of every product, also of those that no catalog names any more, with the night they left.
-- Grain: one row per product that has an answer; left_at is empty while a catalog names the product.
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
    answer.updated_at_utc,
    answer.left_at
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
