"""Workloads x memory models: run them in booted guests, compare the results.

`demo` runs the word index under each model, `results` is one row of such a comparison, `report`
shows rows to people and machines, `corpus` makes the text, `ktap` reads what guest tests print.
"""
