"""Training one network: recipe, phases, augmentation, the loop, and checkpoints that go on after a kill.

Others import: arrays, augmentation, checkpoints, loop, number_options, recipe, starts.
"""
