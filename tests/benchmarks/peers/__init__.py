"""The same night by other systems, each as its documentation shows; they have an environment of their own.

The programs beside this file import nothing of this project: they run in the environment that `make peers` builds.
"""
