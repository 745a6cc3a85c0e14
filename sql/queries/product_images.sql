-- Purpose: the pictures of a product at each position, and which catalogs name them or have ceased to.
-- Parameter: product_id (text) The product.
-- Grain: one row per position and catalog; the catalog that named a position first and still does has no changed_on.
SELECT
    image.image_no,
    image.image_sha256,
    image.ingest_date,
    image.reason,
    named.catalog_name,
    coalesce(change.names_it, CAST(1 AS BOOLEAN)) AS names_it,
    change.changed_on,
    image.left_at
FROM product_images AS image
INNER JOIN (
    SELECT product_id, image_no, catalog_name
    FROM product_images
    WHERE product_id = :product_id
    UNION
    SELECT product_id, image_no, catalog_name
    FROM catalog_changes
    WHERE product_id = :product_id
) AS named ON named.product_id = image.product_id AND named.image_no = image.image_no
LEFT JOIN catalog_changes AS change
    ON
        change.product_id = named.product_id
        AND change.image_no = named.image_no
        AND change.catalog_name = named.catalog_name
WHERE image.product_id = :product_id
ORDER BY image.image_no, named.catalog_name
