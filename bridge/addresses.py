"""Which network addresses the bridge connects to when somebody else's text names the host.

Promises: public addresses only, and what an operator allow-listed; an IPv4 address inside an IPv6 one counts as itself.
Rests on its own list, not on the Python version's idea of "global". Pure: nothing here resolves or connects. A
site's own NAT64 prefix cannot be known here; whoever runs one firewalls it.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# Source: IANA IPv4 and IPv6 Special-Purpose Address Registries, RFC 6890 and its updates.
_RESERVED = {
    ip_network(network): name
    for network, name in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared by carriers",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's own service",  # Azure's, public by number, reachable from every machine there
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "a relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "::/128": "unspecified",
        "::1/128": "loopback",
        "fc00::/7": "private",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
        "2001::/23": "reserved",  # Teredo among them
        "2001:db8::/32": "documentation",
        "2002::/16": "a relay",  # 6to4
        "3fff::/20": "documentation",
    }.items()
}
_UNICAST = IPv6Network("2000::/3")  # all that is handed out for public use
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the third quarter of an address that ends in an IPv4 one


class Reach:
    """What may be connected to."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """Allow these networks besides public addresses. Raises: ValueError for what is not a network."""
        self._allowed = tuple(ip_network(text) for text in allow)

    def is_listed(self, text: str) -> bool:
        """Whether an allow-listed network holds the address, or the IPv4 address inside it."""
        return any(one in network for one in _forms(text) for network in self._allowed)

    def why_not(self, text: str) -> str | None:
        """Why nothing may be sent to the address, in a few words; None when it may."""
        if self.is_listed(text):
            return None
        address = _forms(text)[-1]
        for network, name in _RESERVED.items():
            if address in network:
                return name
        if isinstance(address, IPv6Address) and (address not in _UNICAST or _is_isatap(address)):
            return "not public"
        return None


def is_network(text: str) -> bool:
    """Whether the text is a network like 10.1.0.0/16, or one address."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _forms(text: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """The address, and the IPv4 address that a connection to it ends at, where it has one."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return address, IPv4Address(int(address) & 0xFFFFFFFF)
    return (address,)


def _is_isatap(address: IPv6Address) -> bool:
    return (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
