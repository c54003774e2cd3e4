"""Whether a host is this machine: what is sent to any other host leaves it.

is_this_machine("127.0.0.1")          # True
is_this_machine("api.example.com")    # False
"""

import ipaddress
import socket
from collections.abc import Iterable

_PROBE_PORT = 9
"""Any port: a UDP socket is connected to it, which sends nothing."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_this_machine(host: str) -> bool:
    """Return whether a host of a URL is this machine: loopback, `localhost` or an own address.

    A name is not looked up, except this machine's own: what a name stands for is decided by others,
    and may be another host at the next look.

    Args:
        host: A name or an address, perhaps in brackets.
    """
    name = normalize_host(host)
    try:
        return _is_own_address(ipaddress.ip_address(name))
    except ValueError:
        pass
    if name == "localhost":
        return True
    return name == normalize_host(socket.gethostname()) and _resolves_to_this_machine(name)


def normalize_host(host: str) -> str:
    """Return a host in lower case, without brackets and a final dot."""
    return host.strip().strip("[]").rstrip(".").casefold()


def is_permitted(host: str, permitted: Iterable[str]) -> bool:
    """Return whether posts may be sent to a host: it is this machine, or named.

    Args:
        host: A name or an address.
        permitted: Names and addresses of hosts.
    """
    return is_this_machine(host) or normalize_host(host) in map(normalize_host, permitted)


def _is_own_address(address: IpAddress) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    if address.is_loopback or address.is_unspecified:
        return True
    if address.is_multicast:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        # The system's own route to one of its addresses starts at that address.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _PROBE_PORT))
            source = str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return False
    return ipaddress.ip_address(source) == ipaddress.ip_address(str(address).partition("%")[0])


def _resolves_to_this_machine(name: str) -> bool:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return bool(addresses) and all(map(_is_own_address, addresses))
