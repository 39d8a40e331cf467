# SPDX-License-Identifier: MIT
"""y += a * x, by the device, on this process's own memory.

In a guest that has Python, with libdevmodel/ beside this file:

    $ python3 saxpy.py
"""

from array import array

from libdevmodel import Device, Model, float_bits

COUNT = 100_000


def main() -> None:
    """One line about it; AssertionError if the device reckons otherwise than Python."""
    x = array("f", range(COUNT))
    y = array("f", [1]) * COUNT
    with Device() as device:
        count, _ = device.run("saxpy", y, x, COUNT, float_bits(2.5))
        model = Model(device.info().model).name.lower()
        faults = device.stats().my_device_faults
    # Small enough for float32 to hold each exactly.
    assert all(y[i] == 2.5 * i + 1 for i in range(COUNT))
    print(f"{model}: {count} numbers, {faults} device faults")


if __name__ == "__main__":
    main()
