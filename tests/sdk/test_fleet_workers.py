"""The processes that sign for `corechain fleet sign`.

given a pool with a worker that waits for work and one that is at work
  when its owner is killed (-9), both end too
"""

import subprocess
import sys

import psutil
from support.processes import eventually

from corechain.devnet.process import is_alive

OWNER = """
import os, time
from corechain.devnet.fleet.signing import worker_pool

if __name__ == "__main__":
    with worker_pool(2) as pool:
        pool.submit(time.sleep, 600)
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_workers_end_with_a_parent_that_was_killed() -> None:
    words = [sys.executable, "-c", OWNER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        waiting = int(owner.stdout.readline())
        # The resource tracker of multiprocessing is among them, and ends by itself.
        started = psutil.Process(owner.pid).children(recursive=True)
        assert waiting in {one.pid for one in started}
        assert len(started) >= 2
        owner.kill()
    try:
        assert eventually(lambda: not any(map(is_alive, started))), list(map(str, started))
    finally:
        for one in filter(is_alive, started):
            one.kill()
