"""The architectures, their preprocessing, their backbones' weights, and how a network becomes a file.

Others import: backbones, inputs, origin, registry, weights.
"""
