-- Purpose: how often people agreed with what a release suggested; a category below a suggested group is agreement, none is not, and cleared decisions do not count.
-- Grain: one row per release and suggested category on which people decided.
SELECT
    decision.release_id,
    decision.suggested_category_id AS category_id,
    category.category_path,
    count(*) AS decision_count,
    sum(decision.agreed) AS accepted_count,
    avg(1.0E0 * decision.agreed) AS acceptance_rate,
    avg(decision.suggested_confidence) AS mean_confidence
FROM (
    SELECT
        product_id,
        override_id,
        release_id,
        suggested_category_id,
        suggested_confidence,
        CASE
            WHEN category_id = suggested_category_id THEN 1
            WHEN substr(category_id, 1, length(suggested_category_id) + 1) = suggested_category_id || '.' THEN 1
            ELSE 0
        END AS agreed
    FROM overrides
    WHERE suggested_category_id IS NOT NULL AND action <> 'clear'
) AS decision
LEFT JOIN categories AS category ON category.category_id = decision.suggested_category_id
WHERE
    NOT EXISTS (
        SELECT 1
        FROM overrides AS later
        WHERE
            later.product_id = decision.product_id
            AND later.override_id > decision.override_id
            AND later.action = 'clear'
    )
GROUP BY decision.release_id, decision.suggested_category_id, category.category_path
ORDER BY decision_count DESC, decision.release_id, category_id
