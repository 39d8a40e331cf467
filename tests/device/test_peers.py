"""The HBM of other devices on the bus."""

import numpy as np
import pytest

from devmodel.abi.pagetable import PEERS, PTE_APERTURE_SHIFT, Aperture
from devmodel.device.memory import BadAddress, Memory, are_local, is_local

PEER3 = (Aperture.PEER0 + 3) << PTE_APERTURE_SHIFT
OWN = Aperture.HBM << PTE_APERTURE_SHIFT


def make() -> tuple[Memory, np.ndarray]:
    theirs = np.zeros(8192, dtype=np.uint8)
    own = np.zeros(4096, dtype=np.uint8)
    return Memory([(0, np.zeros(4096, dtype=np.uint8))], own, {3: theirs}), theirs


def test_a_peer_is_reached_at_its_number_and_nowhere_else() -> None:
    memory, theirs = make()
    memory.write(PEER3 + 4096, b"hello")
    assert theirs[4096:4101].tobytes() == b"hello"
    assert memory.read(PEER3 + 4096, 5) == b"hello"
    for bus in (PEER3 + 8192, PEER3 - 8, PEER3 + (1 << PTE_APERTURE_SHIFT)):
        with pytest.raises(BadAddress):
            memory.read(bus, 8)


def test_a_peer_is_not_local() -> None:
    assert is_local(OWN)
    assert not is_local(PEER3)
    assert not is_local(0)
    buses = np.array([0, OWN, OWN + 4088, PEER3], dtype=np.uint64)
    assert are_local(buses).tolist() == [False, True, True, False]


def test_there_are_only_so_many() -> None:
    with pytest.raises(ValueError, match="no aperture for device 6"):
        Memory([], None, {PEERS: np.zeros(8, dtype=np.uint8)})
