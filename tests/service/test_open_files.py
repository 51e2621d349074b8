"""The limit of open files, which is 1,024 where nobody asks for more."""

import json
import subprocess
import sys

from starlette.applications import Starlette
from structlog.testing import capture_logs

from corechain.service.http_server import also_served, bind, http_server

# Soft and hard limit, connections wanted; then the soft limit, and the connections served.
CASES = {
    "the soft limit is raised": ((100, 2_000, 1_000), [1_256, 1_000]),
    "no further than the hard one": ((100, 600, 1_000), [600, 344]),
    "there is enough": ((1_500, 2_000, 1_000), [1_500, 1_000]),
    "next to nothing": ((64, 64, 1_000), [64, 1]),
}
# A child for each case: a hard limit that was lowered stays so.
SERVERS = """
import json, os, resource, sys
from starlette.applications import Starlette
from corechain.service.http_server import http_server
for name, (soft, hard, wanted) in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        server = http_server(Starlette(), wanted, 75)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)[0], server.config.limit_concurrency
        os.write(1, (json.dumps({name: limits}) + "\\n").encode())
        os._exit(0)
    os.wait()
"""


def test_a_server_opens_as_many_connections_as_it_may_beside_its_own_files() -> None:
    asked = json.dumps({name: limits for name, (limits, _) in CASES.items()})
    words = [sys.executable, "-c", SERVERS, asked]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, list[int]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):  # the others are logs
            found |= json.loads(line)
    said = "limit of open files"
    assert done.stdout.count(said) > len(CASES), "each says what it has, and who has too little"
    assert found == {name: then for name, (_, then) in CASES.items()}


async def test_the_listener_for_probes_says_no_limit_as_if_it_were_the_clients() -> None:
    with capture_logs() as logged, bind("X_", "127.0.0.1", 0) as listener:
        async with also_served(Starlette(), listener):
            http_server(Starlette(), 100, 75)
    said = [entry["connections"] for entry in logged if entry["event"] == "limit of open files"]
    assert said == [100]
