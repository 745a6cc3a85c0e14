"""What runs: the command line and the jobs that it starts, a package for each part of the work.

`tests/unit/test_architecture.py` holds which package may import which. `errors`, `wording` and `settings` belong to
none of them.
"""
