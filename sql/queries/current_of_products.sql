-- Purpose: the current answers of these products.
-- Parameter: product_ids (list) The products, separated by commas.
-- Grain: one row per product that has an answer.
SELECT *
FROM current_categories
WHERE product_id IN :product_ids
ORDER BY product_id
