"""Linear heads on the features of frozen backbones: multinomial logistic regression, and its cross-fitting.

Works on arrays with NumPy and SciPy alone: reads and writes no files, and needs neither Keras nor a GPU.

Others import: crossfit, head.
"""
