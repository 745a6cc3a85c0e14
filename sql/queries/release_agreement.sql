-- Purpose: where two releases answer the same images differently, such as challenger and champion.
-- Parameter: release_id (text) The release whose categories are listed, such as the champion.
-- Parameter: other_release_id (text) The release that it is compared with.
-- Grain: one row per category of the first release's answers.
WITH paired AS (
    SELECT
        coalesce(one.category_id, '') AS category_id,
        coalesce(other.category_id, '') AS other_category_id,
        one.confidence,
        other.confidence AS other_confidence
    FROM category_predictions AS one
    INNER JOIN category_predictions AS other
        ON
            other.product_id = one.product_id
            AND other.image_sha256 = one.image_sha256
            AND other.release_id = :other_release_id
    WHERE one.release_id = :release_id
),
elsewhere AS (
    SELECT
        category_id,
        other_category_id,
        count(*) AS image_count,
        row_number() OVER (PARTITION BY category_id ORDER BY count(*) DESC, other_category_id) AS place
    FROM paired
    WHERE other_category_id <> category_id
    GROUP BY category_id, other_category_id
)
SELECT
    nullif(paired.category_id, '') AS category_id,
    count(*) AS image_count,
    sum(CASE WHEN paired.other_category_id = paired.category_id THEN 1 ELSE 0 END) AS agreeing_count,
    CAST(sum(CASE WHEN paired.other_category_id = paired.category_id THEN 1 ELSE 0 END) AS DOUBLE PRECISION)
    / count(*) AS agreement,
    avg(paired.confidence) AS mean_confidence,
    avg(paired.other_confidence) AS other_mean_confidence,
    nullif(min(elsewhere.other_category_id), '') AS differing_category_id,
    coalesce(min(elsewhere.image_count), 0) AS differing_count
FROM paired
LEFT JOIN elsewhere ON elsewhere.category_id = paired.category_id AND elsewhere.place = 1
GROUP BY paired.category_id
ORDER BY agreement, category_id
