"""Turn the softmax of the networks into calibrated confidences and decisions, and measure how good these are.

Works on NumPy arrays only: reads and writes no files, and needs neither Keras nor a GPU.

Others import: calibration, candidates, decision, groups, levels, metrics, pools, products, promises, reasons, taxonomy,
thresholds.
"""
