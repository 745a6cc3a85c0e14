-- Purpose: on how many products people have decided since the champion's training, which learned what was decided before.
-- Parameter: after (integer, default 0) Only decisions with a larger override_id count.
-- Grain: one row; without a champion, or if its training learned no decisions, all decisions count. Products that have left teach nothing and are not counted.
WITH champion AS (
    SELECT
        release_id,
        coalesce(CAST(manifest -> 'training' ->> 'decisions_until' AS BIGINT), 0) AS learned_until
    FROM releases
    WHERE
        release_id = (
            SELECT alias.release_id
            FROM release_aliases AS alias
            WHERE alias.alias = 'champion'
            ORDER BY alias.change_id DESC
            LIMIT 1
        )
),
latest AS (
    SELECT max(override_id) AS override_id
    FROM overrides
    GROUP BY product_id
    HAVING
        max(override_id) > coalesce((SELECT learned_until FROM champion), 0)
        AND max(override_id) > coalesce(:after, 0)
)
SELECT
    (SELECT release_id FROM champion) AS release_id,
    coalesce((SELECT learned_until FROM champion), 0) AS learned_until,
    count(decision.override_id) AS decided_count,
    (SELECT coalesce(max(override_id), 0) FROM overrides) AS last_override_id
FROM latest
INNER JOIN overrides AS decision ON decision.override_id = latest.override_id
WHERE
    decision.action <> 'clear'
    AND EXISTS (
        SELECT 1 FROM product_images AS image WHERE image.product_id = decision.product_id AND image.left_at IS NULL
    )
