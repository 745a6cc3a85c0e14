-- Purpose: what these products are now.
-- Parameter: product_ids (list) The products, separated by commas.
-- Grain: one row a product that has an answer.
SELECT
    answer.product_id,
    answer.category_id,
    category.category_path,
    answer.confidence,
    answer.status,
    answer.release_id,
    answer.image_count,
    answer.ingest_date,
    answer.updated_at_utc
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
WHERE answer.product_id IN :product_ids
ORDER BY answer.product_id
