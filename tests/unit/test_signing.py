"""Signatures both ways: the reference library verifies ours and signs what we verify; every guard has its test."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from bridge import signing
from bridge.errors import ConfigError
from bridge.signing import Flaw

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
BODY = '{"amount":"12.50","note":"Müller"}'.encode()
ONE, TWO = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
# RFC 8032, section 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")


def encode(prefix: str, raw: bytes) -> str:
    return f"{prefix}_{base64.b64encode(raw).decode()}"


def signed(*secrets: str, at: int = AT, message_id: str = "orders:1:1A2B:0") -> dict[str, str]:
    signature = signing.sign(signing.keys(secrets), message_id=message_id, timestamp=at, body=BODY)
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


def flaw(secret: str, headers: dict[str, str], body: bytes = BODY) -> Flaw | None:
    return signing.standard_flaw(signing.keys([secret]), headers, body, now=NOW)


@pytest.mark.parametrize("secret", [ONE, TWO])
def test_the_reference_library_verifies_what_is_signed_with_two_secrets(secret: str) -> None:
    Webhook(secret).verify(BODY, signed(ONE, TWO, at=int(datetime.now(UTC).timestamp())))


def test_the_reference_library_refuses_a_body_that_was_touched() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(ONE).verify(BODY + b" ", signed(ONE, at=int(datetime.now(UTC).timestamp())))


def test_what_the_reference_library_signs_is_genuine() -> None:
    headers = signed(ONE) | {"webhook-signature": Webhook(TWO).sign("orders:1:1A2B:0", NOW, BODY.decode())}
    assert flaw(TWO, headers) is None
    assert flaw(ONE, headers) is Flaw.MISMATCH


def test_ed25519_agrees_with_rfc_8032() -> None:
    expected = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    made = signing.key(encode("whsk", SEED)).sign(b"\x72")
    assert made == f"v1a,{base64.b64encode(bytes.fromhex(expected)).decode()}"


@pytest.mark.parametrize("secret", [encode("whsk", SEED), encode("whsk", SEED + PUBLIC)])
def test_a_public_key_verifies_what_the_secret_key_signed(secret: str) -> None:
    public = encode("whpk", PUBLIC)
    assert flaw(public, signed(ONE, secret)) is None
    assert flaw(public, signed(ONE, secret), BODY + b" ") is Flaw.MISMATCH
    with pytest.raises(ConfigError, match="cannot sign"):
        signing.key(public).sign(b"")


def test_a_signature_of_one_kind_is_not_taken_for_the_other() -> None:
    headers = signed(ONE)
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v1a,")
    assert flaw(ONE, headers) is Flaw.MISMATCH


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-301, Flaw.TOO_OLD), (-300, None), (0, None), (300, None), (301, Flaw.TOO_NEW)]
)
def test_a_timestamp_may_be_five_minutes_off_either_way(seconds: int, expected: Flaw | None) -> None:
    assert flaw(ONE, signed(ONE, at=AT + seconds)) is expected


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed_and_bound_by_the_signature(part: str) -> None:
    headers = signed(ONE)
    del headers[part]
    assert flaw(ONE, headers) is Flaw.MISSING
    headers = signed(ONE)
    headers[part] = str(AT + 1) if part == "webhook-timestamp" else headers[part].replace("1", "2")
    assert flaw(ONE, headers) is Flaw.MISMATCH


@pytest.mark.parametrize("text", ["1e9", "١٧٦٤", "-5", "1764072000.0", "9" * 400, " 1764072000"])
def test_a_timestamp_is_plain_digits(text: str) -> None:
    assert flaw(ONE, signed(ONE) | {"webhook-timestamp": text}) is Flaw.MALFORMED


@pytest.mark.parametrize("text", ["v1", "v1,", "v1,!!!", ",", "é,é", " ", "v1,ééé="])
def test_a_signature_that_cannot_be_read_matches_nothing(text: str) -> None:
    assert flaw(ONE, signed(ONE) | {"webhook-signature": text}) is Flaw.MISMATCH


def test_an_oversized_header_is_not_looked_at() -> None:
    headers = signed(ONE)
    assert flaw(ONE, headers | {"webhook-signature": headers["webhook-signature"] + " v1,AAAA" * 1000}) is (
        Flaw.MALFORMED
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "whsec_",
        encode("whsec", b"x" * 23),
        encode("whsec", b"x" * 65),
        "whsec_not base64 at all!",
        encode("whsk", b"x" * 31),
        encode("whsk", SEED + b"x" * 32),
        encode("whpk", b"x" * 33),
    ],
)
def test_a_weak_or_wrong_secret_is_named_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signing.key(text)
    shown = text.partition("_")[2]
    assert not shown or shown not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_no_secret_at_all_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="no webhook secret"):
        signing.keys([])


def test_a_key_does_not_print() -> None:
    assert ONE not in repr(signing.key(ONE))
    assert repr(b"\x01" * 32) not in repr(signing.key(ONE))


def test_unpadded_base64_is_read_as_the_reference_library_reads_it() -> None:
    assert flaw(ONE, signed(ONE.rstrip("="))) is None


def test_an_id_in_a_header_is_printable_bounded_and_has_no_full_stop() -> None:
    assert signing.header_id("orders:1:1A2B:0d") == "orders:1:1A2B:0d"
    assert signing.header_id('orders:s1:"Müller",1.5\n') == "orders:s1:%22M%C3%BCller%22%2C1%2E5%0A"
    assert signing.header_id("x." * 5000) == signing.header_id("x." * 5000)
    assert signing.header_id("x." * 5000) != signing.header_id("x." * 5001)
    assert len(signing.header_id("x." * 5000)) < 100


def github(secret: str, body: bytes = BODY) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"}


def test_githubs_own_example_is_genuine() -> None:
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert signing.github_flaw(["It's a Secret to Everybody"], headers, b"Hello, World!") is None


def test_githubs_form_knows_two_secrets_and_nothing_else() -> None:
    assert signing.github_flaw(["old", "new"], github("new"), BODY) is None
    assert signing.github_flaw(["old"], github("new"), BODY) is Flaw.MISMATCH
    assert signing.github_flaw(["new"], github("new"), BODY + b" ") is Flaw.MISMATCH
    assert signing.github_flaw([""], github(""), BODY) is Flaw.MISMATCH
    assert signing.github_flaw(["new"], {}, BODY) is Flaw.MISSING
    assert signing.github_flaw(["new"], {"x-hub-signature-256": "sha1=00"}, BODY) is Flaw.MALFORMED
    assert signing.github_flaw(["new"], {"x-hub-signature-256": "sha256=é"}, BODY) is Flaw.MISMATCH


def stripe(secret: str, *, at: int = AT, others: str = "") -> dict[str, str]:
    digest = hmac.digest(secret.encode(), b"%d.%b" % (at, BODY), "sha256").hex()
    return {"stripe-signature": f"t={at},v1={'0' * 64},v1={digest},v0={'0' * 64}{others}"}


def test_stripes_form_takes_any_of_its_signatures_within_the_tolerance() -> None:
    def found(headers: dict[str, str], *secrets: str) -> Flaw | None:
        return signing.stripe_flaw(secrets or ("new",), headers, BODY, now=NOW)

    assert found(stripe("new"), "old", "new") is None
    assert found(stripe("new"), "old") is Flaw.MISMATCH
    assert found(stripe("new", at=AT - 301)) is Flaw.TOO_OLD
    assert found(stripe("new", at=AT + 301)) is Flaw.TOO_NEW
    assert found(stripe("new", others=f",t={AT + 1}")) is Flaw.MALFORMED
    assert found({"stripe-signature": stripe("new")["stripe-signature"].replace("v1=", "v0=")}) is Flaw.MISMATCH
    assert found({"stripe-signature": "x" * 5000}) is Flaw.MALFORMED
    assert found({"stripe-signature": "v1=00"}) is Flaw.MALFORMED
    assert found({}) is Flaw.MISSING


def test_a_clock_in_another_zone_is_the_same_clock() -> None:
    local = NOW.astimezone(datetime.now().astimezone().tzinfo) + timedelta(seconds=10)
    assert signing.standard_flaw(signing.keys([ONE]), signed(ONE), BODY, now=local) is None


def test_every_secret_is_compared_whole_and_in_constant_time_with_every_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S3: also after one that matched."""
    seen: list[tuple[object, object]] = []

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return one == other

    monkeypatch.setattr("bridge.signing.hmac.compare_digest", compare)
    given = [signing.key(SECRETS_OF_S3[0]), signing.key(SECRETS_OF_S3[1])]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    signature = signing.sign(given, message_id="a", timestamp=int(at.timestamp()), body=b"{}")
    headers = {"webhook-id": "a", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
    assert signing.standard_flaw(given, headers, b"{}", now=at) is None
    assert len(seen) == 4
    hexed = hmac.digest(b"two", b"{}", "sha256").hex()
    assert signing.github_flaw(["two", "one"], {"x-hub-signature-256": f"sha256={hexed}"}, b"{}") is None
    assert len(seen) == 6


SECRETS_OF_S3 = ["whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"a", b"b")]
