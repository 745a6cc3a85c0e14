-- Purpose: answers that wait for a person, with the suggestion and an image to look at; read it in order of confidence.
-- Grain: one row per product of status review.
-- Order: confidence, product_id
SELECT
    answer.product_id,
    answer.category_id AS suggested_category_id,
    category.category_path AS suggested_category_path,
    answer.confidence,
    (
        SELECT prediction.image_uri
        FROM category_predictions AS prediction
        WHERE prediction.product_id = answer.product_id AND prediction.release_id = answer.release_id
        ORDER BY prediction.ingest_date DESC, prediction.ingest_no DESC, prediction.image_no, prediction.image_sha256 DESC
        LIMIT 1
    ) AS image_uri,
    answer.image_count,
    answer.release_id,
    answer.ingest_date,
    answer.updated_at_utc
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
WHERE answer.status = 'review'
