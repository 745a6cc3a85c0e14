-- Purpose: the current images: the pictures that each product has in a catalog now, with the prediction of each release.
-- Grain: one row per product, release and picture; a picture that a product has twice counts once.
-- Order: product_id, release_id, image_no
SELECT
    prediction.product_id,
    prediction.release_id,
    prediction.image_sha256,
    image.image_no,
    prediction.image_uri,
    prediction.ingest_date,
    prediction.ingest_no,
    prediction.category_id,
    prediction.confidence,
    prediction.status,
    prediction.review_reason,
    prediction.held_by,
    prediction.foreign_score,
    prediction.top_k,
    prediction.by_network,
    prediction.run_id,
    prediction.predicted_at_utc
FROM product_images AS image
INNER JOIN category_predictions AS prediction
    ON prediction.product_id = image.product_id AND prediction.image_sha256 = image.image_sha256
WHERE
    image.left_at IS NULL
    AND NOT EXISTS (
        SELECT 1
        FROM product_images AS earlier
        WHERE
            earlier.product_id = image.product_id
            AND earlier.image_sha256 = image.image_sha256
            AND earlier.image_no < image.image_no
            AND earlier.left_at IS NULL
    )
