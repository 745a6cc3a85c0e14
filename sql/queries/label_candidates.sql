-- Purpose: the waiting products whose labels would teach most, the most useful first, with an image to look at.
-- Grain: one row per product of label_candidates that nobody has decided, that waits still and has not left.
SELECT
    candidate.place,
    answer.product_id,
    answer.category_id AS suggested_category_id,
    category.category_path AS suggested_category_path,
    answer.confidence,
    answer.status,
    answer.review_reason,
    (
        SELECT image.image_uri
        FROM current_images AS image
        WHERE image.product_id = answer.product_id AND image.release_id = answer.release_id
        ORDER BY image.ingest_date DESC, image.ingest_no DESC, image.image_no
        LIMIT 1
    ) AS image_uri,
    candidate.release_id,
    candidate.run_id,
    candidate.chosen_at_utc
FROM label_candidates AS candidate
INNER JOIN product_categories AS answer ON answer.product_id = candidate.product_id
LEFT JOIN categories AS category ON category.category_id = answer.category_id
WHERE answer.status IN ('review', 'unknown') AND NOT answer.decided AND answer.left_at IS NULL
ORDER BY candidate.place
