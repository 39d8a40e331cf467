"""One process per device: the link, the device and the loop that steps it.

`python -m devmodel.agent` is the process; `devmodel.agent.process` is how a supervisor starts
and watches one.
"""
