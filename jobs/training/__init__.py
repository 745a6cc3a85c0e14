"""Fine-tuning of networks on the labelled products of the dataset, and export of these products for another machine.

Reads images/ and catalog_rows/. Writes training/ or features/ of the home, and a release or an .npz file.

Others import: decisions, export, features, finetune, progress, quick, quick_config, selection, taxonomy,
training_record.
"""
