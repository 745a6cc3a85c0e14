-- Purpose: every prediction that a product ever had, by release and image, the newest first.
-- Parameter: product_id (text) The product.
-- Grain: one row per release and image content.
SELECT
    prediction.ingest_date,
    prediction.ingest_no,
    prediction.release_id,
    prediction.image_no,
    prediction.category_id,
    category.category_path,
    prediction.confidence,
    prediction.status,
    prediction.review_reason,
    prediction.held_by,
    prediction.foreign_score,
    prediction.by_network,
    prediction.top_k,
    prediction.image_uri,
    prediction.image_sha256,
    prediction.run_id,
    prediction.predicted_at_utc
FROM category_predictions AS prediction
LEFT JOIN categories AS category ON category.category_id = prediction.category_id
WHERE prediction.product_id = :product_id
ORDER BY
    prediction.ingest_date DESC,
    prediction.ingest_no DESC,
    prediction.predicted_at_utc DESC,
    prediction.image_no,
    prediction.image_sha256
