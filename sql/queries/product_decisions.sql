-- Purpose: what people decided about a product, the latest first.
-- Parameter: product_id (text) The product.
-- Grain: one row per decision.
SELECT
    decided_at_utc,
    action,
    category_id,
    decided_by,
    why,
    came_by,
    suggested_category_id,
    suggested_confidence,
    release_id
FROM overrides
WHERE product_id = :product_id
ORDER BY override_id DESC
