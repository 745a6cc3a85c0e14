-- Purpose: pictures under many products that hold current answers back until a person allows the picture.
-- Grain: one row per picture; product_count is the number of products that it holds back.
SELECT
    image_sha256,
    product_count,
    product_id AS example_product_id,
    image_uri AS example_image_uri
FROM (
    SELECT
        image.image_sha256,
        image.product_id,
        image.image_uri,
        count(*) OVER (PARTITION BY image.image_sha256) AS product_count,
        row_number() OVER (PARTITION BY image.image_sha256 ORDER BY image.product_id) AS place
    FROM current_images AS image
    INNER JOIN product_categories AS answer
        ON answer.product_id = image.product_id AND answer.release_id = image.release_id
    WHERE image.held_by = 'shared_picture' AND answer.review_reason = 'shared_picture' AND answer.left_at IS NULL
) AS held
WHERE place = 1
ORDER BY product_count DESC, image_sha256
