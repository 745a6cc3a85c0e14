-- Purpose: products that no catalog names any more and that have no answer, which left_products does not list.
-- Grain: one row per product, those that left last first; reasons is empty if no image was rejected.
SELECT
    product_id,
    max(left_at) AS left_at,
    count(*) AS image_count,
    group_concat(DISTINCT reason) AS reasons
FROM (
    SELECT
        image.product_id,
        image.left_at,
        image.reason
    FROM product_images AS image
    WHERE
        image.left_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM product_categories AS answer WHERE answer.product_id = image.product_id)
        AND NOT EXISTS (
            SELECT 1 FROM product_images AS present WHERE present.product_id = image.product_id AND present.left_at IS NULL
        )
    ORDER BY image.product_id, image.reason
) AS unanswered
GROUP BY product_id
ORDER BY max(left_at) DESC, product_id
