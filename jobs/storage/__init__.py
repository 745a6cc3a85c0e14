"""Files and object stores: where state lies, how it is read and written, and what is said when that fails.

Reads and writes whatever it is asked to; knows nothing of images, runs or networks.

Others import: faults, file_uris, places, stores, temporary.
"""
