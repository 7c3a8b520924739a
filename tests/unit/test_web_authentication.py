"""Who is let in, how often, and what is told of the others."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from bridge import keys
from bridge.access import ACTS, Principal
from bridge.config.access import Act
from bridge.errors import JournalUnavailable
from bridge.model import AuditEntry
from bridge.web.authentication import ATTEMPTS
from bridge.web.keyring import LOOK_S, TRIES
from bridge.web.refusals import INTERVAL_S, KIND_LIMIT, Refusals
from tests.gate import Gate, other_secret, scope

CRM = {"streams": ["orders"]}


@pytest.fixture
def gate() -> Gate:
    return Gate(crm=CRM)


def test_a_key_is_in_its_form_and_only_its_hash_is_kept(gate: Gate) -> None:
    text = gate.key("crm")
    stored = gate.stored(text)
    assert len(text) == len("lbk_") + 8 + len("_") + 43
    assert text.removeprefix(f"{stored.prefix}_") not in str(stored)
    assert stored.hash.startswith("$argon2id$")
    assert keys.StoredKey.from_kept(stored.prefix, stored.to_kept()) == stored


def test_a_good_key_is_checked_once_and_recognised_ever_after(gate: Gate) -> None:
    text = gate.key("crm")
    assert [gate.one(f"Bearer {text}"), gate.one(f"bearer {text}")] == ["crm", "crm"]
    assert gate.checked == [text]


@pytest.mark.parametrize(
    "authorization",
    [(), ("Basic YTpi",), ("Bearer",), ("Bearer ",), ("Bearer lbk_aaaaaaaa_short",), ("Bearer \u00e9",), ("a", "b")],
)
def test_whatever_is_no_key_is_one_uniform_answer(gate: Gate, authorization: tuple[str, ...]) -> None:
    assert gate.one(*authorization) == "401 unauthenticated"
    assert gate.refusal(*authorization).headers["www-authenticate"].startswith('Bearer realm="legacy-bridge"')
    assert gate.checked == []


def test_a_wrong_an_unknown_an_expired_and_a_foreign_key_are_told_alike(gate: Gate) -> None:
    """The answer does not help to guess; the audit trail says which it was."""
    good = gate.key("crm")
    expired = gate.key("crm", expires_at=gate.clock())
    refusals = [
        gate.refusal(f"Bearer {text}")
        for text in (other_secret(good), f"lbk_00000000_{'A' * 43}", expired, gate.key("gone"))
    ]
    assert {(one.status, one.detail, *one.headers.items()) for one in refusals} == {
        (401, refusals[0].detail, ("www-authenticate", 'Bearer realm="legacy-bridge", error="invalid_token"'))
    }
    reasons = {reason for _, _, reason in gate.audited()}
    assert reasons == {
        "wrong secret", "unknown or revoked key", "expired key", "belongs to no principal of the configuration"
    }  # fmt: skip


def test_a_key_that_expires_is_refused_from_then_on(gate: Gate) -> None:
    text = gate.key("crm", expires_at=gate.clock() + timedelta(seconds=60))
    assert gate.one(f"Bearer {text}") == "crm"
    gate.clock.advance(60)
    assert gate.one(f"Bearer {text}") == "401 unauthenticated"


def test_a_revoked_key_is_refused_within_a_second(gate: Gate) -> None:
    """Although it was recognised before, and whoever revoked it."""
    text = gate.key("crm")
    assert gate.one(f"Bearer {text}") == "crm"
    gate.journal.keep(keys.KIND, {text[:12]: None})
    gate.clock.advance(LOOK_S)
    assert LOOK_S < 1
    assert gate.one(f"Bearer {text}") == "401 unauthenticated"


def test_a_key_whose_secret_was_replaced_is_not_taken_from_memory(gate: Gate) -> None:
    text = gate.key("crm")
    assert gate.one(f"Bearer {text}") == "crm"
    _, other = keys.create("crm", now=gate.clock())
    gate.keep(replace(other, prefix=text[:12]))
    assert gate.one(f"Bearer {text}") == "401 unauthenticated"


def test_wrong_keys_cost_no_check(gate: Gate) -> None:
    """Not of an unknown prefix, not of a known one, neither before nor after the good key was seen."""
    text = gate.key("crm")
    for number in range(20):
        gate.one(f"Bearer {other_secret(text)}", address=f"192.0.2.{number}")
        gate.one(f"Bearer lbk_00000000_{'A' * 43}", address=f"192.0.2.{number}")
    assert gate.checked == []
    gate.one(f"Bearer {text}")
    gate.one(f"Bearer {other_secret(text)}")
    assert gate.checked == [text]


def test_keys_are_compared_whole_and_in_constant_time(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3: before a key was seen by what is stored of it, afterwards by its digest; never by `==`."""
    text, seen = gate.key("crm"), list[tuple[str | bytes, str | bytes]]()

    def compare(one: str | bytes, other: str | bytes) -> bool:
        seen.append((one, other))
        return one == other

    monkeypatch.setattr("bridge.web.keyring.hmac.compare_digest", compare)
    assert gate.one(f"Bearer {other_secret(text)}") == "401 unauthenticated"
    assert seen == [(keys.fragment(text), keys.fragment(other_secret(text)))]
    assert gate.one(f"Bearer {text}") == "crm"
    seen.clear()
    assert [gate.one(f"Bearer {each}") for each in (text, other_secret(text))] == ["crm", "401 unauthenticated"]
    assert [(len(one), len(other)) for one, other in seen] == [(32, 32), (32, 32)]
    assert [one == other for one, other in seen] == [True, False]


def test_a_flood_of_wrong_keys_does_not_keep_a_good_one_out(gate: Gate) -> None:
    """S10: from the same address and of the same prefix, before the good key was ever seen; checks stay few."""
    text = gate.key("crm")

    async def flood() -> list[str]:
        wrong = (gate.ask(f"Bearer {other_secret(text)}") for _ in range(500))
        return await asyncio.gather(*wrong, gate.ask(f"Bearer {text}"), *(gate.ask() for _ in range(500)))

    answers = asyncio.run(flood())
    assert answers[500] == "crm"
    assert set(answers) == {"crm", "401 unauthenticated", "429 too-many-attempts"}
    assert answers.count("401 unauthenticated") == ATTEMPTS.amount
    assert gate.checked == [text]
    assert len(gate.audited()) == 2


def test_checks_of_one_key_are_few_and_one_at_a_time(gate: Gate) -> None:
    """Even for someone who knows what the stored fragment is; another address is not punished."""
    text = gate.key("crm")
    wrong = other_secret(text)
    gate.keep(replace(gate.stored(text), fragment=keys.fragment(wrong)))

    async def flood() -> list[str]:
        return await asyncio.gather(*(gate.ask(f"Bearer {wrong}") for _ in range(50)))

    answers = asyncio.run(flood())
    assert len(gate.checked) == TRIES.amount
    assert set(answers[TRIES.amount :]) == {"429 too-many-attempts"}
    assert gate.one(f"Bearer {wrong}", address="192.0.2.9") == "401 unauthenticated"


def test_one_check_serves_all_who_came_with_the_same_key(gate: Gate) -> None:
    text = gate.key("crm")

    async def together() -> list[str]:
        return await asyncio.gather(*(gate.ask(f"Bearer {text}") for _ in range(30)))

    assert asyncio.run(together()) == ["crm"] * 30
    assert gate.checked == [text]


def test_more_than_can_wait_for_a_check_are_asked_to_come_again(gate: Gate) -> None:
    text = gate.key("crm")

    async def together() -> list[str]:
        return await asyncio.gather(*(gate.ask(f"Bearer {text}") for _ in range(100)))

    assert set(asyncio.run(together())) == {"crm", "503 unavailable"}


def test_without_a_principal_the_answer_says_how_to_make_one() -> None:
    assert "legacy-bridge key create" in Gate().refusal().detail


def test_principals_change_with_the_configuration(gate: Gate) -> None:
    text = gate.key("crm")
    gate.keeper.use({})
    assert gate.one(f"Bearer {text}") == "401 unauthenticated"
    gate.keeper.use(gate.configured)
    assert gate.one(f"Bearer {text}") == "crm"


def test_a_quota_is_told_and_held() -> None:
    gate = Gate(crm=CRM | {"requests_per_minute": 2}, web=CRM)
    text, other = gate.key("crm"), gate.key("web")
    admitted = asyncio.run(gate.keeper.admit(scope(f"Bearer {text}")))
    assert admitted.headers["ratelimit-policy"] == '"default";q=2;w=60'
    assert admitted.headers["ratelimit"].startswith('"default";r=1;t=')
    assert gate.one(f"Bearer {text}") == "crm"
    refusal = gate.refusal(f"Bearer {text}")
    assert (refusal.status, refusal.slug, refusal.extensions) == (
        429, "quota-exceeded", {"violated-policies": ["default"]}
    )  # fmt: skip
    assert 0 < int(refusal.headers["retry-after"]) <= 60
    assert refusal.headers["ratelimit"].startswith('"default";r=0;t=')
    assert gate.one(f"Bearer {other}") == "web"
    assert ("api:crm", "GET /v1/streams", "quota-exceeded") in gate.audited()


def test_refusals_are_told_at_once_and_then_counted_by_the_minute(gate: Gate) -> None:
    gate.one()
    assert gate.audited() == [("address:192.0.2.1", "GET /v1/streams", "no key or token")]
    for _ in range(30):
        gate.one()
    assert len(gate.audited()) == 1
    gate.clock.advance(INTERVAL_S)
    assert gate.audited()[1:] == [("address:192.0.2.1", "GET /v1/streams", "no key or token; 30 times")]


def test_what_was_not_told_yet_is_told_at_the_stop(gate: Gate) -> None:
    gate.one()
    gate.audited()
    gate.one()
    gate.keeper.step(whole=True)
    assert len(gate.journal.audit_trail()) == 2


def test_the_memory_of_refusals_is_bounded() -> None:
    refusals, told = Refusals(), list[AuditEntry]()
    for number in range(3 * KIND_LIMIT):
        refusals.note(f"address:{number}", "GET /v1/streams", "no key or token")
    refusals.write(told.extend)
    assert len(told) == KIND_LIMIT + 1
    assert told[-1].reason == f"more kinds of refusals than are told apart; {2 * KIND_LIMIT} times"


def test_what_could_not_be_written_is_written_the_next_time() -> None:
    refusals, told = Refusals(), list[AuditEntry]()
    refusals.note("api:crm", "GET /v1/streams", "quota-exceeded")

    def fails(_: object) -> None:
        raise JournalUnavailable("the disk is full")

    with pytest.raises(JournalUnavailable):
        refusals.write(fails)
    refusals.write(told.extend)
    assert [entry.actor for entry in told] == ["api:crm"]


def test_no_secret_of_a_refused_key_is_told(gate: Gate) -> None:
    text = gate.key("crm")
    for sent in (other_secret(text), f"lbk_00000000_{'A' * 43}", f"{text}x"):
        gate.one(f"Bearer {sent}")
    told = str(gate.audited())
    assert text[:12] in told
    assert text[13:] not in told
    assert "A" * 43 not in told


def test_the_hour_of_the_last_use_is_kept_once_an_hour(gate: Gate) -> None:
    text = gate.key("crm")
    hours = []
    for _ in range(3):
        gate.one(f"Bearer {text}")
        gate.keeper.step()
        hours.append((gate.journal.kept(keys.USE_KIND), gate.journal.version()))
        gate.clock.advance(10)
    assert hours[0][0] == {text[:12]: {"hour": "2026-01-01T00:00:00+00:00"}}
    assert hours[0] == hours[1] == hours[2]


CELLS = list(product(ACTS, ACTS, [("orders",), "*", ()], [None, "orders", "payroll"]))


@pytest.mark.parametrize(("had", "asked", "streams", "stream"), CELLS)
def test_an_act_on_a_stream_needs_both(had: Act, asked: Act, streams: tuple[str, ...], stream: str | None) -> None:
    """S9: every act had, every act asked for, own and foreign streams."""
    own = {(): set(), ("orders",): {"orders", None}, "*": {"orders", "payroll", None}}[streams] | {None}
    principal = Principal("p", acts=frozenset({had}), streams=streams)
    assert principal.may(asked, stream) == (had == asked and stream in own)
