#!/usr/bin/env python3
"""Holds the memory that nobody uses, and gives it back piece by piece as others need it.

A virtual machine may offer free memory to its host. Whoever touches such a page next waits until the host has
given it back, which takes many times as long as to fill it, so what a program takes hangs on what ran before
it. Run beside a benchmark, this lets every program find pages that were touched a moment ago: they are held,
touched, until little else is free, and then unmapped a few at a time.

Takes a processor for a minute at first, and next to nothing then. Stop it with Ctrl-C. It is the first that
goes where memory runs out.
"""

import mmap
import sys
import time

MIB = 1 << 20
CHUNK = 16 * MIB
# Less is free: give. More is free: take, until this much is left, which others live on until the next look.
GIVE_BELOW, TAKE_ABOVE, TAKE_UNTIL = 350 * MIB, 1400 * MIB, 500 * MIB
GIVE_AT_ONCE = 8


def free():
    """Bytes that nobody uses, not even for what was read from the disk."""
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        for line in meminfo:
            if line.startswith("MemFree:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemFree")


def wait_until_held(limit=120):
    """Until what was set free is in the holder's hands."""
    until = time.monotonic() + limit
    while free() > TAKE_ABOVE and time.monotonic() < until:
        time.sleep(0.2)


def touched():
    """A chunk of which every page was written to."""
    chunk = mmap.mmap(-1, CHUNK)
    chunk.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, CHUNK, mmap.PAGESIZE):
        chunk[page] = 1
    return chunk


def hold():
    """For ever."""
    held = []
    while True:
        left = free()
        if left < GIVE_BELOW:
            for chunk in held[-GIVE_AT_ONCE:]:
                chunk.close()
            del held[-GIVE_AT_ONCE:]
        elif left > TAKE_ABOVE:
            while free() > TAKE_UNTIL:
                held.append(touched())
            print(f"holds {len(held) * CHUNK // MIB} MiB", flush=True)
        time.sleep(0.002 if left < 2 * GIVE_BELOW else 0.01)


if __name__ == "__main__":
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")
    try:
        hold()
    except KeyboardInterrupt:
        sys.exit(0)
