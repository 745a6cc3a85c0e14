"""The Petastorm dataset: its columns, its files and partitions, reading it decoded, and the labels in it.

Reads and writes the directories images/, seen/ and catalog_rows/ of the home, `ingest_date=YYYY-MM-DD/` below each.

Others import: batches, file_frames, labels, local_copies, partitions, petastorm_adapter, reading, schema, shards.
"""
