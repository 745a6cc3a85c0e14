"""Measuring a release on labelled products with the same reader, networks and decision that serve.

Reads images/ and a release; writes evaluation.json and evaluation.html where the command says.

Others import: answers, evaluate, measure, page.
"""
