-- Purpose: every product in a category or below it; the next page starts after the last row of this one.
-- Parameter: category_id (text) A category or an inner node of the taxonomy, as in apparel.tops.
-- Parameter: after_category_id (text, default ) Category of the last row seen.
-- Parameter: after_product_id (text, default ) Product of the last row seen.
-- Grain: one row a product.
SELECT
    member.product_id,
    member.category_id,
    category.category_path,
    member.confidence,
    member.status
FROM (
    SELECT product_id, category_id, confidence, status
    FROM product_categories
    WHERE category_id = :category_id AND (category_id, product_id) > (:after_category_id, :after_product_id)
    UNION ALL
    -- What begins with "apparel.tops." and no sibling such as "apparel.tops-outlet": in byte order "/" follows ".".
    SELECT product_id, category_id, confidence, status
    FROM product_categories
    WHERE
        category_id > :category_id || '.'
        AND category_id < :category_id || '/'
        AND (category_id, product_id) > (:after_category_id, :after_product_id)
) AS member
LEFT JOIN categories AS category ON category.category_id = member.category_id
ORDER BY member.category_id, member.product_id
