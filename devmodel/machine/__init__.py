"""A VM with devices: configuration, builds, QEMU, console and shell.

::

    from devmodel.machine import Machine

    with Machine.from_yaml("private") as vm:
        result = vm.run(["uname", "-a"])
        print(result.exit_code, result.stdout)
"""

from devmodel.machine.config import MachineConfig
from devmodel.machine.machine import Machine
from devmodel.machine.shell import Result

__all__ = ["Machine", "MachineConfig", "Result"]
