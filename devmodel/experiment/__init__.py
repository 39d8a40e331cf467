"""Workloads x memory models: run them in booted guests, compare the results.

`workloads` are what is run, `fleet` boots a VM for each model and works in it, `results` is what a
workload says of itself. `demo` runs the word index under each model, with `report` as its table;
`compare` runs any workloads under any models, with `comparison` as its table. `corpus` makes the
text, `ktap` reads what guest tests print, `hmm_tests` lets the kernel's own tests judge.
"""
