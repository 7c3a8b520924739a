"""Which addresses may be connected to."""

import pytest

from bridge.addresses import Reach, is_network

PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1",
          "64:ff9b::1.1.1.1"]  # fmt: skip
BLOCKED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "0.0.0.0": "unspecified",  # noqa: S104  blocked, not bound
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "169.254.169.254": "link-local",
    "100.64.0.1": "shared by carriers",
    "100.100.100.200": "shared by carriers",
    "168.63.129.16": "a cloud's own service",
    "192.0.0.192": "reserved",
    "198.18.0.1": "benchmarking",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::ffff:a9fe:a9fe": "link-local",
    "::127.0.0.1": "not public",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::169.254.169.254": "link-local",
    "64:ff9b:1::7f00:1": "not public",
    "2002:7f00:1::": "a relay",
    "2002:a9fe:a9fe::1": "a relay",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "reserved",
    "2001:db8::1": "documentation",
    "2606:4700::5efe:10.0.0.1": "not public",
    "2606:4700::200:5efe:10.0.0.1": "not public",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "not public",
    "ff02::1": "multicast",
    "100::1": "not public",
    "5f00::1": "not public",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert Reach().why_not(address) is None
    assert not Reach().is_listed(address)


@pytest.mark.parametrize(("address", "reason"), BLOCKED.items())
def test_any_other_address_is_blocked_by_name(address: str, reason: str) -> None:
    assert Reach().why_not(address) == reason


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.0.0/16"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("fd12::1", "fd12::/16"),
        ("fe80::1%eth0", "fe80::/10"),
    ],
)
def test_an_allow_listed_network_may_be_reached_and_no_other(address: str, network: str) -> None:
    reach = Reach([network])
    assert reach.why_not(address) is None
    assert reach.is_listed(address)
    assert reach.why_not("192.168.1.1") == "private"


def test_a_network_is_written_without_host_bits() -> None:
    assert is_network("10.1.0.0/16")
    assert is_network("::1")
    assert not is_network("10.1.0.1/16")
    assert not is_network("everything")
