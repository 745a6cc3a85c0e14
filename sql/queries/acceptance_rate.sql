-- Purpose: how often people agreed with what a release suggested, without decisions that were cleared; none is a no.
-- Grain: one row per release and suggested category on which people decided.
SELECT
    decision.release_id,
    decision.suggested_category_id AS category_id,
    category.category_path,
    count(*) AS decision_count,
    sum(CASE WHEN decision.category_id = decision.suggested_category_id THEN 1 ELSE 0 END) AS accepted_count,
    avg(CASE WHEN decision.category_id = decision.suggested_category_id THEN 1.0E0 ELSE 0.0E0 END) AS acceptance_rate,
    avg(decision.suggested_confidence) AS mean_confidence
FROM overrides AS decision
LEFT JOIN categories AS category ON category.category_id = decision.suggested_category_id
WHERE
    decision.suggested_category_id IS NOT NULL
    AND decision.action <> 'clear'
    AND NOT EXISTS (
        SELECT 1
        FROM overrides AS later
        WHERE
            later.product_id = decision.product_id
            AND later.override_id > decision.override_id
            AND later.action = 'clear'
    )
GROUP BY decision.release_id, decision.suggested_category_id, category.category_path
ORDER BY decision_count DESC, decision.release_id, category_id
