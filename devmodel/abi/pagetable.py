"""The device's page table: 4 levels of 9 bits, 64-bit entries, 2 MiB leaves at level 1.

The top byte of an entry belongs to the device (ACCESSED, DIRTY: one-byte stores), the other
seven to the driver (docs/adr/0002-device-owned-pte-byte.md). The driver takes a translation away
by clearing VALID, then waits for the invalidate, then reads DIRTY, then clears the entry.

ATOMIC says that nobody but this device can reach the page, so that what the device reads,
changes and writes back is one step to everybody. Access.ATOMIC needs VALID, WRITE and ATOMIC.

A bus address is what entries and copy lists hold: the byte offset within an aperture in
bits 0-51 and the aperture in bits 52-54. Offsets of the SYSTEM aperture are guest-physical;
aperture PEER0 + N is the HBM of device N of the same machine (DeviceRegs.number), for N < PEERS.
"""

from enum import IntEnum

LEVELS = 4
LEVEL_BITS = 9
ENTRY_BYTES = 8

PTE_VALID = 1 << 0
PTE_WRITE = 1 << 1
PTE_LEAF = 1 << 2
PTE_ATOMIC = 1 << 4
PTE_ADDRESS = ((1 << 52) - 1) & ~0xFFF
PTE_APERTURE_SHIFT = 52
PTE_APERTURE = 0x7 << PTE_APERTURE_SHIFT
PTE_ACCESSED = 1 << 56
PTE_DIRTY = 1 << 57
PTE_DEVICE_BYTE = 7
PEERS = 6
# What one AGE command may cover: the reach of one lowest table.
AGE_PAGES = 1 << LEVEL_BITS
BUS_OFFSET = (1 << 52) - 1


class Aperture(IntEnum):
    """Where a bus address points."""

    SYSTEM = 0
    HBM = 1
    PEER0 = 2
