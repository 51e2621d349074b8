"""A bridge that takes from a broker as fast as it can: to be killed.

python -m relayer.bridge_mqtt_child FOLDER URL VERSION TOPICS CLIENT_ID
"""

import asyncio
import sys
from pathlib import Path

from relayer.bridges import Stage


async def main() -> None:
    folder, url, version, topics, client_id = sys.argv[1:]
    broker = {"mqtt_url": url, "mqtt_version": version, "mqtt_topics": topics}
    bridge = Stage.at(Path(folder), mqtt_client_id=client_id, **broker).bridge
    await asyncio.gather(*bridge.loops())


if __name__ == "__main__":
    asyncio.run(main())
