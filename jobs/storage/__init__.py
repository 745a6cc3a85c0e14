"""Files on disks and in object stores: the directories of the home, reading, writing, retries and error messages.

Reads and writes any file that the other packages name; knows nothing of images, runs or networks.

Others import: faults, file_uris, home_json, masking, modes, places, stores.
"""
