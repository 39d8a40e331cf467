"""What guest and device agree on, declared once. Standard library only.

`record` is the way of declaring, `registers`, `counters`, `rings`, `pagetable` and `ioctl` the
declarations, `layout` their hash, `generate` the C headers and the pages made from them, `python`
the module for guests that have Python.
"""
