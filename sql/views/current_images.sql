-- Purpose: the current images: for each product, release and image_no the newest content, with its prediction.
-- Grain: one row per product, release and image_no.
-- Order: product_id, release_id, image_no
SELECT
    prediction.product_id,
    prediction.release_id,
    prediction.image_sha256,
    prediction.image_no,
    prediction.image_uri,
    prediction.ingest_date,
    prediction.ingest_no,
    prediction.category_id,
    prediction.confidence,
    prediction.status,
    prediction.top_k,
    prediction.by_network,
    prediction.run_id,
    prediction.predicted_at_utc
FROM category_predictions AS prediction
WHERE
    NOT EXISTS (
        SELECT 1
        FROM category_predictions AS newer
        WHERE
            newer.product_id = prediction.product_id
            AND newer.release_id = prediction.release_id
            AND newer.image_no = prediction.image_no
            AND (newer.ingest_date, newer.ingest_no, newer.image_sha256)
            > (prediction.ingest_date, prediction.ingest_no, prediction.image_sha256)
    )
