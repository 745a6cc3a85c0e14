-- Purpose: products of a run that a person should look at: those that moved to another category, and the least certain ones.
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
    highlight.ingest_date
FROM run_highlights AS highlight
LEFT JOIN categories AS category ON category.category_id = highlight.category_id
LEFT JOIN categories AS previous ON previous.category_id = highlight.previous_category_id
WHERE highlight.run_id = :run_id
ORDER BY highlight.kind, highlight.place
