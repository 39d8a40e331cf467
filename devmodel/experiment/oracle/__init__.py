"""The coherence oracle: proves invariants 1 to 3 of a run from its traces (docs/oracle.md).

Needs nothing but files: no machine, no device, no kernel. `check.check` is what to call.
"""
