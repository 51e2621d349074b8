"""What a burst took goes back to the system, although something that stays lies behind it.

given a process that has freed a burst
  ├── the C library keeps it, until it is given back
  └── where the C library cannot give back, nothing happens
"""

import ctypes
import json
import subprocess
import sys

import pytest
from support.processes import PATIENCE_S

from corechain.service import memory

# A child: the heap of this process has seen other tests. Blocks of 4 KiB come from the heap, one by
# one; the last one keeps its end where it is.
BURST = """
import asyncio, json, os, sys, time
from corechain.service.command import run_to_end

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main():
    before = resident()
    burst = [bytes(4_096) for _ in range(10_000)]
    stays = bytes(4_096)
    burst.clear()
    kept = resident() - before
    deadline = time.monotonic() + float(sys.argv[1])
    while (left := resident() - before) > kept / 4 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    print(json.dumps({"kept": kept, "left": left, "stays": len(stays)}))

run_to_end(main(), give_back_s=0.01)
"""


def test_a_service_gives_freed_memory_back() -> None:
    words = [sys.executable, "-c", BURST, str(PATIENCE_S)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["kept"] > 10_000 * 4_096 / 2  # or there would be nothing to give back
    assert found["left"] <= found["kept"] / 4


def test_a_library_without_malloc_trim_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.trim_of(ctypes.CDLL(None)) is not None
    assert memory.trim_of(object()) is None
    monkeypatch.setattr(memory, "_TRIM", None)
    memory.give_back()
