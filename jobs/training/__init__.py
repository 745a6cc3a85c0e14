"""Fine-tuning networks on the labelled products of the dataset, and exporting them for another machine.

Reads images/ and catalog_rows/; writes training/ of the home, and a release.

Others import: export, finetune, progress, selection, taxonomy.
"""
