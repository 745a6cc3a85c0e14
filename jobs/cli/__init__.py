"""The command line: options, commands, what is printed, and exit codes.

The only package that reads arguments and ends the process.

Others import: main.
"""
