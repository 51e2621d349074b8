"""`kill -9` while uploads are taken: what was acknowledged is in the queue, once and whole."""

import os
import subprocess
import sys
from pathlib import Path

from corechain.protocol.reading import unpack_report
from relayer.bridge_child import ROOF, upload
from relayer.bridges import Stage

TESTS = Path(__file__).resolve().parent.parent
KILLS, ACKNOWLEDGED = 4, 25


def killed(folder, first):
    """The acknowledgements of a process that was killed at work, after a number of them."""
    command = [sys.executable, "-m", "relayer.bridge_child", str(folder), str(first)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=TESTS) as process:
        lines = [process.stdout.readline() for _ in range(ACKNOWLEDGED)]
        process.kill()
        # What it wrote before it died was acknowledged too; a line without an end was not.
        lines += process.stdout.read().splitlines(keepends=True)
    assert process.returncode < 0, lines
    return [int(line) for line in lines if line.endswith(b"\n")]


def queued(folder):
    """(sequence, time, metrics) of the reports that wait, in order."""
    store = Stage.at(folder).bridge.store
    reports = [unpack_report(item.report)[0].report for item in store.head(10**9)]
    store.close()
    return [
        (one.sequence, one.observations()[0].observed_at, [o.metric for o in one.observations()])
        for one in reports
    ]


def test_what_was_acknowledged_before_a_kill_is_there_once_and_whole(tmp_path):
    stage = Stage.at(tmp_path)
    stage.station(ROOF, "ecowitt")
    stage.bridge.store.close()
    acknowledged, first = [], 1_600_000_000
    for _ in range(KILLS):
        # The station tries again what was not acknowledged: from the last acknowledgement on.
        acknowledged += killed(tmp_path, first)
        first = acknowledged[-1] + 1
    found = queued(tmp_path)
    times = [at for _, at, _ in found]
    assert times == sorted(set(times))
    assert set(acknowledged) <= set(times)
    # Taken and not acknowledged: at most the one under way at each kill.
    assert len(set(times) - set(acknowledged)) <= 1
    assert all(metrics == [m.metric for m in upload(at).measurements] for _, at, metrics in found)
    sequences = [sequence for sequence, _, _ in found]
    assert sequences == sorted(set(sequences))
