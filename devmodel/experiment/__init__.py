"""Workloads x memory models: run them in booted guests, compare the results.

`config` is what an experiment's file says, `executable` what a program of this machine has to be.
`fleet` boots a VM for each model and works in it; `job` is one run of a workload there, `streams`
what it prints, `results` what it cost. `compare` runs an experiment, `agreement` looks whether its
runs came to the same, and `comparison` is the table, with `columns`; `tables` is how one looks.
`samples` are how things stood meanwhile, and `provenance` is where results come from; `report`
makes a page of them. `sweep` runs an experiment at every point of a grid. `demo` runs the word
index under each model, with `summary` as its table. `corpus` makes the text, `ktap` reads what
guest tests print, `junit` writes it for others, `hmm_tests` lets the kernel's own tests judge.
"""
