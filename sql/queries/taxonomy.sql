-- Purpose: the categories that a product can have.
-- Grain: one row per category.
SELECT
    category_id,
    category_path,
    taxonomy_version
FROM categories
ORDER BY category_id
