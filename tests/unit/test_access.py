"""Who may do what: an act is had or not, a stream is one's own or not."""

from bridge.access import Principal, principals
from bridge.config.access import PrincipalConfig


def test_an_act_does_not_bring_another() -> None:
    clerk = Principal("clerk", acts=frozenset({"administer"}), streams="*")
    assert clerk.may("administer")
    assert not clerk.may("read")


def test_a_foreign_stream_is_out_of_reach_whatever_the_acts() -> None:
    clerk = Principal("clerk", acts=frozenset({"read"}), streams=("orders",))
    assert clerk.may("read", "orders")
    assert not clerk.may("read", "payroll")


def test_configured_principals_see_their_streams_and_an_asterisk_sees_all() -> None:
    found = principals({"clerk": PrincipalConfig(streams=("orders",)), "all": PrincipalConfig(streams=("*",))})
    assert [found[name].sees("payroll") for name in ("clerk", "all")] == [False, True]
    assert found["clerk"].actor == "api:clerk"
