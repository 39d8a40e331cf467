"""What guest and device agree on, declared once. Standard library only.

`record` is the way of declaring, `registers`, `rings`, `pagetable` and `ioctl` the declarations,
`layout` their hash, `generate` the C headers and docs/abi.md made from them.
"""
