"""How a device reaches a guest: shared memory, doorbells, ivshmem's protocol, the RAM map."""
