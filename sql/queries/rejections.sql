-- Purpose: the images of a run that could not be used, each with its reason.
-- Parameter: run_id (text) The run.
-- Grain: one row per product image.
SELECT
    product_id,
    image_no,
    reason,
    detail,
    image_uri,
    image_sha256,
    ingest_date,
    seen_at_utc
FROM rejected_images
WHERE run_id = :run_id
ORDER BY reason, product_id, image_no
