"""Reports that must not come into a batch, as their devices were revoked long before. Pure.

A gateway takes none of a device that it knows to be revoked. During an outage of the node it knows
of no revocation; and an observation from an hour after one is a fraud that costs the bond.
"""

from collections.abc import Collection, Mapping

import numpy as np

from corechain.protocol.columns import Places, ints
from corechain.protocol.frame import Columns
from corechain.protocol.reading import DeviceId

GRACE_S = 3_600
"""`REVOCATION_GRACE` of DeviceEvidence.sol."""


def late_reports(
    columns: Columns, devices: Collection[DeviceId], revoked_at: Mapping[DeviceId, int]
) -> Places:
    """Places of the reports with an observation from later than the grace after their device's
    revocation. `devices`: those of the columns, each once: hardly ever one of them is revoked."""
    revoked = revoked_at.keys() & set(devices)
    if not revoked:
        return np.zeros(0, np.intp)
    times, firsts = ints(columns.times), columns.firsts
    found = [
        index
        for index, device in enumerate(columns.device_ids())
        if device in revoked
        and times[firsts[index] : firsts[index + 1]].max() > revoked_at[device] + GRACE_S
    ]
    return np.array(found, np.intp)
