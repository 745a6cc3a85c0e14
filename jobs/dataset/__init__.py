"""The Petastorm dataset: its schema, files and partitions, a reader that decodes images, and the product labels.

Reads and writes the directories images/, seen/ and catalog_rows/ of the home; each has one subdirectory
`ingest_date=YYYY-MM-DD/` per ingest date.

Others import: batches, catalog_labels, category_texts, decided_labels, file_frames, helper_process, ingest_marks,
label_findings, label_map, labels, local_copies, partitions, parts, petastorm_adapter, presence, reader_processes,
reading, schema, shards, stored_images, thumbnails.
"""
