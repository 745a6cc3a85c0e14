-- Purpose: products that a catalog names and that have no answer, with the reasons of their rejected images.
-- Grain: one row per product; reasons is empty if no image was rejected: they are not predicted yet.
SELECT
    product_id,
    count(*) AS image_count,
    group_concat(DISTINCT reason) AS reasons
FROM (
    SELECT
        image.product_id,
        image.reason
    FROM product_images AS image
    WHERE
        image.left_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM product_categories AS answer WHERE answer.product_id = image.product_id)
    ORDER BY image.product_id, image.reason
) AS unanswered
GROUP BY product_id
ORDER BY product_id
