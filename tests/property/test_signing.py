"""Whatever the id, the body and the keys: the reference library and ours agree, and no other text passes."""

import base64
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from bridge import signing

secrets = st.binary(min_size=24, max_size=64).map(lambda raw: f"whsec_{base64.b64encode(raw).decode()}")
ids = st.text(min_size=1, max_size=300)


@settings(deadline=None)
@given(texts=st.lists(secrets, min_size=1, max_size=4), event_id=ids, body=st.text())
def test_the_reference_library_verifies_every_message_with_each_of_its_secrets(
    texts: list[str], event_id: str, body: str
) -> None:
    at, message_id = int(datetime.now(UTC).timestamp()), signing.header_id(event_id)
    signature = signing.sign(signing.keys(texts), message_id=message_id, timestamp=at, body=body.encode())
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}
    for text in texts:
        Webhook(text).verify(body, headers, json_parse=False)
        assert signing.standard_flaw(signing.keys([text]), headers, body.encode(), now=datetime.now(UTC)) is None


@settings(deadline=None)
@given(signature=st.text(), message_id=st.text(), at=st.text(), body=st.binary())
def test_nothing_made_without_the_secret_passes(signature: str, message_id: str, at: str, body: bytes) -> None:
    keys = signing.keys([f"whsec_{base64.b64encode(b'k' * 32).decode()}"])
    headers = {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": signature}
    assert signing.standard_flaw(keys, headers, body, now=datetime.now(UTC)) is not None
    assert signing.github_flaw(["k"], {"x-hub-signature-256": signature}, body) is not None
    assert signing.stripe_flaw(["k"], {"stripe-signature": signature}, body, now=datetime.now(UTC)) is not None


@settings(deadline=None)
@given(first=ids, second=ids)
def test_two_events_never_share_a_header_id(first: str, second: str) -> None:
    assert (signing.header_id(first) == signing.header_id(second)) == (first == second)
    assert signing.header_id(first).isascii()
    assert "." not in signing.header_id(first)
