"""Build networks by architecture name, preprocess their input, and copy, convert and save their weights.

Reads JPEG bytes and `.keras` files; writes `.weights.h5` and `.keras` files.

Others import: backbones, heads, inputs, origin, pixels, registry, weights.
"""
