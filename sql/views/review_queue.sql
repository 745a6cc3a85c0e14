-- Purpose: answers that wait for a person, with the suggestion and an image to look at; read it in order of confidence.
-- Grain: one row per product of status review.
-- Order: confidence, product_id
SELECT
    answer.product_id,
    answer.category_id AS suggested_category_id,
    category.category_path AS suggested_category_path,
    answer.confidence,
    answer.review_reason,
    (
        SELECT image.image_uri
        FROM current_images AS image
        WHERE image.product_id = answer.product_id AND image.release_id = answer.release_id
        ORDER BY image.ingest_date DESC, image.ingest_no DESC, image.image_no
        LIMIT 1
    ) AS image_uri,
    answer.image_count,
    answer.release_id,
    answer.ingest_date,
    answer.updated_at_utc
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
WHERE answer.status = 'review' AND answer.left_at IS NULL
