"""The list of reserved addresses lacks nothing that Python's own knows."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.addresses import Reach


@settings(deadline=None, max_examples=1000)
@given(address=st.ip_addresses())
def test_nothing_that_python_calls_other_than_global_is_reached(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert Reach().why_not(str(address)) is not None
