"""Heat cover on a running network: buys a policy, sends hot readings, proves them, is paid.

    corechain up                      # in another terminal
    python examples/cover/run.py      # at the top of the checkout

The contract: contracts/consumer/examples/HeatCover.sol. The steps: corechain/devnet/cover.py.
Moves the time of the network's chain on by 25 hours: a claim waits until nobody can challenge it.
"""

import os
import sys
from pathlib import Path

from corechain import Client, account_from_key
from corechain.devnet.cover import ETHER, HeatCoverStory
from corechain.devnet.settings import ADMIN_KEY
from corechain.protocol.errors import CoreChainError
from corechain.status import find_places


def main(home: Path) -> None:
    """Raises what goes wrong, typed."""
    places = find_places(home, {})
    account = account_from_key(ADMIN_KEY)  # of `corechain up` only: everybody knows it
    with Client(places.api, places.gateway, places.rpc, places.deployment, account) as client:
        story = HeatCoverStory(client, lambda line: print(f"· {line}", flush=True))
        story.begin()
        print("· waiting until the policy's time is closed by a later batch", flush=True)
        settled = story.settle()
    for call, gas in settled.gas.items():
        print(f"  {call:10} {gas:>10,} gas")
    print(f"proven: mean {settled.mean:.2f} °C of {settled.count} readings", end=", ")
    print(f"{settled.batches} batches; paid out: {settled.payout / ETHER:g} ether")


if __name__ == "__main__":
    try:
        main(Path(os.environ.get("CORECHAIN_HOME", ".corechain")))
    except CoreChainError as error:
        sys.exit(f"{type(error).__name__}: {error}")
