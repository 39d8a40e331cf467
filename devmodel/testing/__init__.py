"""Guests for other people's tests: the pytest plugin, and what its fixtures hand out.

pytest imports `plugin` wherever devmodel is installed, also where nobody uses it: this module and
that one import nothing else of devmodel. What fixtures need is imported by them: `choice` is which
machine a test wants, `pool` the VM that runs, `device` a device with its counters, `subtests` a
program's KTAP.
"""
