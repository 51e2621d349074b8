"""What every service of the network is built from: node, database, supervision, HTTP, logs.

Needs the extra `corechain[service]`; a dApp that imports the SDK never loads it. Knows no role.
"""

import corechain.http  # noqa: F401 (for what it spares httpx, which services import by themselves)
from corechain.sparing import import_without

# Its renderer for terminals, which we do not use, would load 70 modules of rich into every service.
import_without("structlog", "rich")
