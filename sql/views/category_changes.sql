-- Purpose: products that moved to another category: the last move of each.
-- Grain: one row per product that ever moved.
-- Order: updated_at_utc DESC, product_id
SELECT
    answer.product_id,
    answer.previous_category_id,
    previous.category_path AS previous_category_path,
    answer.category_id,
    category.category_path,
    answer.confidence,
    answer.status,
    answer.review_reason,
    answer.release_id,
    answer.run_id,
    answer.updated_at_utc
FROM product_categories AS answer
INNER JOIN categories AS previous ON previous.category_id = answer.previous_category_id
LEFT JOIN categories AS category ON category.category_id = answer.category_id
WHERE answer.previous_category_id IS NOT NULL AND answer.left_at IS NULL
