-- Purpose: images of current answers on which the networks differ, with the choice of each network.
-- Grain: one row per current image of a product.
-- Order: product_id
SELECT
    prediction.product_id,
    prediction.image_no,
    prediction.image_uri,
    prediction.category_id,
    prediction.confidence,
    prediction.status,
    prediction.review_reason,
    prediction.by_network,
    prediction.release_id,
    prediction.ingest_date
FROM product_categories AS answer
INNER JOIN current_images AS prediction
    ON prediction.product_id = answer.product_id AND prediction.release_id = answer.release_id
WHERE
    (SELECT count(DISTINCT network.value ->> 0) FROM json_each(prediction.by_network) AS network) > 1
