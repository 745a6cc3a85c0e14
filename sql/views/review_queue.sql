-- Purpose: answers that wait for a person, with the suggestion and an image to look at; read it in order of confidence.
-- Grain: one row per product of status review, and per product whose picture changed after a person's decision.
-- Order: confidence, product_id
SELECT
    answer.product_id,
    coalesce(answer.suggested_category_id, answer.category_id) AS suggested_category_id,
    category.category_path AS suggested_category_path,
    coalesce(answer.suggested_confidence, answer.confidence) AS confidence,
    answer.review_reason,
    (
        SELECT image.image_uri
        FROM current_images AS image
        WHERE
            image.product_id = answer.product_id
            AND image.release_id = coalesce(answer.suggested_release_id, answer.release_id)
        ORDER BY image.ingest_date DESC, image.ingest_no DESC, image.image_no
        LIMIT 1
    ) AS image_uri,
    answer.image_count,
    coalesce(answer.suggested_release_id, answer.release_id) AS release_id,
    answer.ingest_date,
    answer.updated_at_utc
FROM product_categories AS answer
LEFT JOIN categories AS category
    ON category.category_id = coalesce(answer.suggested_category_id, answer.category_id)
WHERE (answer.status = 'review' OR answer.review_reason = 'changed_picture') AND answer.left_at IS NULL
