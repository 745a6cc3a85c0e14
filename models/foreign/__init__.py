"""Take in a network that others trained: read its file without running its code, and rebuild it as one of ours.

Reads `.keras` and `.h5` files of Keras 2 and 3 and `.npz` files of expected answers; writes nothing.

Others import: expected, files, rebuild.
"""
