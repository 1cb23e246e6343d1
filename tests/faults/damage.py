"""Seeded damage to bytes, and what readers must do with it."""

from __future__ import annotations

import random

KINDS = ("a bit", "cut", "taken out", "put in", "zeroed", "bytes changed")


def damaged(data, seed):
    """``data`` with one bit flipped, cut short, or with a few bytes taken out, put in, zeroed or changed; never the
    same bytes."""
    rng, found = random.Random(seed), bytes(data)
    while found == data:
        found = _damaged(bytearray(data), KINDS[seed % len(KINDS)], rng)
    return found


def _damaged(found, kind, rng):
    at, length = rng.randrange(len(found)), rng.randint(1, 40)
    if kind == "a bit":
        found[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del found[at:]
    elif kind == "taken out":
        del found[at : at + length]
    elif kind == "put in":
        found[at:at] = rng.randbytes(length)
    elif kind == "zeroed":
        found[at : at + length] = bytes(len(found[at : at + length]))
    else:
        for _ in range(rng.randint(1, 6)):
            found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def lengths(data):
    """A length of every class at which a file can be cut short: nothing, in the HDF5 superblock, at a block's edge, in
    the middle, around the seal, all but a byte."""
    size = len(data)
    edges = (0, 1, 2, 7, 8, 9, 32, 47, 48, 49, 95, 96, 97, 511, 512, 513, 2047, 2048, 4095, 4096, 4097)
    back = (1, 2, 31, 32, 33, 64, 512)
    wanted = {*edges, *(size - n for n in back), size // 4, size // 2, size * 3 // 4}
    return sorted(n for n in wanted if 0 <= n < size)
