"""From calibrated confidences to decisions: thresholds, levels of the taxonomy, metrics. NumPy alone.

Others import: calibration, decision, levels, metrics, products, thresholds.
"""
