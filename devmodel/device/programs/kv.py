"""A key-value store in a process's memory, and the two things that the device does with it.

An open hash table of `nslots` (a power of two) slots {u64 key; u64 value}: key 0 is an empty
slot, `value` is the address of 8 u64. A key is looked for from slot (key * 0x9e3779b97f4a7c15 >>
32) modulo nslots onwards; there is no other order.

kv_get(table, nslots, keys, nkeys, out): out[i] becomes the sum of the 8 words of keys[i], modulo
2^64, and 0 where there is no such key. Result: keys found, and slots looked at.

kv_add(table, nslots, keys, nkeys, amount): `amount` is added to the first word of each key's
value, once for each time that it is named. Result: different keys found, and slots looked at;
keys are looked for some thousand at a time, and count anew each time.
"""

import numpy as np

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program
from devmodel.device.programs.wordindex import MOST_STEPS, U64

SLOT = np.dtype([("key", "<u8"), ("value", "<u8")])
VALUE_WORDS = 8

_VALUE = np.dtype((np.void, 8 * VALUE_WORDS))
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_KEYS_AT_A_TIME = 1 << 13


@program("kv_get")
async def kv_get(
    memory: Memory, table: int, nslots: int, keys: int, nkeys: int, out: int
) -> tuple[int, int]:
    """Some thousand keys in step."""
    _check(nslots)
    found = looked = 0
    for first, number in chunks(nkeys, _KEYS_AT_A_TIME):
        key = await memory.load(keys + 8 * first, number)
        values, steps = await _find(memory, table, nslots, key)
        there = values != 0
        sums = np.zeros(number, dtype=np.uint64)
        if there.any():
            value = (await memory.gather(values[there], _VALUE)).view(np.uint64)
            sums[there] = value.reshape(-1, VALUE_WORDS).sum(axis=1, dtype=np.uint64)
        await memory.store(out + 8 * first, sums)
        found += int(np.count_nonzero(there))
        looked += steps
    return found, looked


@program("kv_add")
async def kv_add(
    memory: Memory, table: int, nslots: int, keys: int, nkeys: int, amount: int
) -> tuple[int, int]:
    """Some thousand keys in step."""
    _check(nslots)
    found = looked = 0
    for first, number in chunks(nkeys, _KEYS_AT_A_TIME):
        key, times = np.unique(await memory.load(keys + 8 * first, number), return_counts=True)
        values, steps = await _find(memory, table, nslots, key)
        there = values != 0
        values = values[there]
        if values.size:
            words = await memory.gather(values)
            await memory.scatter(values, words + np.uint64(amount) * times[there].astype(np.uint64))
        found += values.size
        looked += steps
    return found, looked


def _check(nslots: int) -> None:
    if not nslots or nslots & (nslots - 1) or nslots >> 32:
        raise BadArgument(f"{nslots} slots: must be a power of two below 2^32")


async def _find(memory: Memory, table: int, nslots: int, keys: U64) -> tuple[U64, int]:
    """The address of each key's value, 0 without one, and the slots looked at."""
    values = np.zeros(keys.size, dtype=np.uint64)
    slots = (keys * _FACTOR >> np.uint64(32)) & np.uint64(nslots - 1)
    seeking = np.flatnonzero(keys)
    looked = 0
    for step in range(nslots):
        if not seeking.size:
            break
        at = (slots[seeking] + np.uint64(step)) & np.uint64(nslots - 1)
        slot = await memory.gather(np.uint64(table) + np.uint64(SLOT.itemsize) * at, SLOT)
        looked += seeking.size
        if looked > MOST_STEPS:
            raise OverflowError(f"more than {MOST_STEPS} slots: is the table full?")
        same = slot["key"] == keys[seeking]
        values[seeking[same]] = slot["value"][same]
        seeking = seeking[~same & (slot["key"] != 0)]
    return values, looked
