"""Variables that nobody set: of Kubernetes, beside ours in a container's environment."""

import re

# What Kubernetes (and Docker links) puts into a container's environment for each service of its
# namespace: a service called "relayer" would otherwise end the relayer as an unknown setting.
_INJECTED = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_INJECTED_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S*")


def is_injected(name: str, value: str) -> bool:
    """Whether it comes from Kubernetes. A service called "relayer-http" even injects
    RELAYER_HTTP_PORT, the name of a setting of ours: there the value, an address, tells."""
    named_port = name == "PORT" or name.endswith("_PORT")
    is_address = named_port and _INJECTED_ADDRESS.fullmatch(value) is not None
    return is_address or _INJECTED.fullmatch(name) is not None
