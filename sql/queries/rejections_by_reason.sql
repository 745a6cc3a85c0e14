-- Purpose: how many images of a run could not be used, by reason, with one example.
-- Parameter: run_id (text) The run.
-- Grain: one row a reason that occurred.
SELECT
    reason,
    count(*) AS image_count,
    min(product_id) AS example_product_id,
    min(detail) AS example_detail
FROM rejected_images
WHERE run_id = :run_id
GROUP BY reason
ORDER BY image_count DESC, reason
