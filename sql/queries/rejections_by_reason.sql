-- Purpose: how many images of a run could not be used, by reason, with one of them as an example.
-- Parameter: run_id (text) The run.
-- Grain: one row per reason that occurred.
SELECT
    reason,
    image_count,
    product_id AS example_product_id,
    detail AS example_detail
FROM (
    SELECT
        reason,
        product_id,
        detail,
        count(*) OVER (PARTITION BY reason) AS image_count,
        row_number() OVER (PARTITION BY reason ORDER BY product_id, image_no) AS place
    FROM rejected_images
    WHERE run_id = :run_id
) AS of_reason
WHERE place = 1
ORDER BY image_count DESC, reason
