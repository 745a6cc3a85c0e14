-- Purpose: every product in a category or below it, in pages; each page starts after the last row of the page before.
-- Parameter: category_id (text) A category or an inner node of the taxonomy, as in apparel.tops.
-- Parameter: after_category_id (text, default ) Category of the last row seen.
-- Parameter: after_product_id (text, default ) Product of the last row seen.
-- Grain: one row per product.
SELECT *
FROM current_categories AS member
WHERE
    -- One range of the index, read in its order and from where the last page ended. In byte order "/" follows ".".
    (member.category_id, member.product_id) > (
        CASE WHEN CAST(:after_category_id AS TEXT) = '' THEN CAST(:category_id AS TEXT) ELSE :after_category_id END,
        :after_product_id
    )
    AND member.category_id < :category_id || '/'
    -- No sibling such as "apparel.tops-outlet".
    AND (member.category_id = :category_id OR member.category_id > :category_id || '.')
ORDER BY member.category_id, member.product_id
