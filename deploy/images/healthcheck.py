"""Asks the process of this container whether it answers. Exit code 0 or 1, for HEALTHCHECK."""

import http.client
import os

# The port of the probes: the first of these that is set, else the one that the service defaults to.
NAMES = (
    "INDEXER_OPS_PORT",
    "RELAYER_OPS_PORT",
    "BRIDGE_OPS_PORT",
    "INDEXER_HTTP_PORT",
    "BRIDGE_HTTP_PORT",
    "RELAYER_HTTP_PORT",
)


def main() -> int:
    port = next((os.environ[name] for name in NAMES if name in os.environ), "8701")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=4)
    try:
        connection.request("GET", "/health")
        return 0 if connection.getresponse().status == http.client.OK else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main())
