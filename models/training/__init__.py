"""Train one network: recipe, phases, augmentation, training loop, and checkpoints from which a killed training resumes.

Reads start weights and checkpoints; writes one checkpoint file per work directory.

Others import: arrays, augmentation, checkpoints, frozen, loop, recipe, seen, starts.
"""
