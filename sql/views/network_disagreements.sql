-- Purpose: images of current answers on which the networks differ, with each one's own choice.
-- Grain: one row a current image of a product.
-- Order: product_id
SELECT
    prediction.product_id,
    prediction.image_no,
    prediction.image_uri,
    prediction.category_id,
    prediction.confidence,
    prediction.status,
    prediction.by_network,
    prediction.release_id,
    prediction.ingest_date
FROM product_categories AS answer
INNER JOIN category_predictions AS prediction
    ON prediction.product_id = answer.product_id AND prediction.release_id = answer.release_id
WHERE
    (SELECT count(DISTINCT network.value ->> 0) FROM json_each(prediction.by_network) AS network) > 1
    AND NOT EXISTS (
        SELECT 1
        FROM category_predictions AS newer
        WHERE
            newer.product_id = prediction.product_id
            AND newer.release_id = prediction.release_id
            AND newer.image_no = prediction.image_no
            AND (
                newer.ingest_date > prediction.ingest_date
                OR (newer.ingest_date = prediction.ingest_date AND newer.image_sha256 < prediction.image_sha256)
            )
    )
