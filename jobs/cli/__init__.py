"""The command line: options, commands, printed output and exit codes.

This is the only package that reads command-line arguments and ends the process.

Others import: main.
"""
