"""Who is at the other end of a connection. Pure."""

from ipaddress import IPv4Address, ip_address, ip_network


def source_of(peer: str) -> str:
    """What stands for all addresses of one sender: an IPv6 host has the lower 64 bits to itself
    (RFC 4291, section 2.5.4)."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer  # what a proxy says, or nothing
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))
