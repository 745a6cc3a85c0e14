"""What a release knows: a description of its images, and a score of how unlike these an image is.

A confidence is calibrated for images like those that calibrated it. The description is made of features that the
networks compute anyway, so a score costs little (out-of-distribution detection by nearest neighbours).

Others import: fit, gate, images.
"""
