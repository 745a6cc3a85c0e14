-- Purpose: what these products are now.
-- Parameter: product_ids (list) The products, separated by commas.
-- Grain: one row a product that has an answer.
SELECT *
FROM current_categories
WHERE product_id IN :product_ids
ORDER BY product_id
