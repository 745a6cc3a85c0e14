-- Purpose: how many products each category has, and how sure the answers are.
-- Grain: one row a category that has products; category_id is empty for products of status unknown.
-- Order: product_count DESC, category_id
SELECT
    answer.category_id,
    category.category_path,
    count(*) AS product_count,
    sum(CASE WHEN answer.status = 'auto' THEN 1 ELSE 0 END) AS auto_count,
    sum(CASE WHEN answer.status = 'review' THEN 1 ELSE 0 END) AS review_count,
    sum(CASE WHEN answer.status = 'unknown' THEN 1 ELSE 0 END) AS unknown_count,
    sum(CASE WHEN answer.status = 'manual' THEN 1 ELSE 0 END) AS manual_count,
    avg(answer.confidence) AS mean_confidence
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
GROUP BY answer.category_id, category.category_path
