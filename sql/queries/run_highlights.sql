-- Purpose: products of a run that a person should look at: those that moved, and the least certain; not those that have left.
-- Parameter: run_id (text) The run.
-- Grain: one row per kind and product, some dozen a run.
SELECT
    highlight.kind,
    highlight.place,
    highlight.product_id,
    highlight.category_id,
    category.category_path,
    highlight.previous_category_id,
    previous.category_path AS previous_category_path,
    highlight.confidence,
    highlight.status,
    highlight.review_reason,
    highlight.ingest_date
FROM run_highlights AS highlight
LEFT JOIN categories AS category ON category.category_id = highlight.category_id
LEFT JOIN categories AS previous ON previous.category_id = highlight.previous_category_id
WHERE
    highlight.run_id = :run_id
    -- One look-up by key for each of the few rows, whatever the planner knows of the tables.
    AND (
        SELECT answer.left_at
        FROM product_categories AS answer
        WHERE answer.product_id = highlight.product_id
    ) IS NULL
ORDER BY highlight.kind, highlight.place
