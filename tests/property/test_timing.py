"""S3: how much of a guess is right does not show in the time its refusal takes."""

import asyncio
import base64
import hmac
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from starlette.datastructures import Headers

from bridge import keys, signing
from bridge.config.inbox import BasicLogin, WebhookSystemConfig
from bridge.config.secrets import Secret
from bridge.testing import MemoryJournal
from bridge.web.inbox import _basic_flaw
from bridge.web.keyring import KeyRing, Unrecognised
from tests.recovery.test_daemon_kills import times

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's webhooks.").decode()


def welch_t(check: Callable[[bytes], object], right: bytes) -> float:
    """Welch's t of the durations of two sorts of guesses: wrong in the first byte, and wrong in the last.

    Made before, each an object of its own, and tried in random order, so that neither what chose them nor where they
    lie in memory is measured; without the slowest tenth, which the machine and not the guess is to blame for.
    """
    wrong = (bytes([right[0] ^ 1]) + right[1:], right[:-1] + bytes([right[-1] ^ 1]))
    order = [random.getrandbits(1) for _ in range(2 * times(100_000))]
    guesses = [bytes(bytearray(wrong[which])) for which in order]
    took = [0] * len(order)
    for index, guess in enumerate(guesses):
        began = time.perf_counter_ns()
        check(guess)
        took[index] = time.perf_counter_ns() - began
    limit = sorted(took)[len(took) * 9 // 10]
    first, last = (
        [spent for spent, which in zip(took, order, strict=True) if which == sort and spent <= limit] for sort in (0, 1)
    )
    spread = statistics.variance(first) / len(first) + statistics.variance(last) / len(last)
    return float(abs(statistics.fmean(first) - statistics.fmean(last)) / spread**0.5)


@pytest.mark.soak
def test_a_signature_is_refused_alike_wherever_it_is_wrong() -> None:
    key = signing.key(SECRET)
    content = b"a.1.{}"
    right = base64.b64decode(key.sign(content).partition(",")[2])
    assert welch_t(lambda guess: key.is_genuine(guess, content), right) < 4.5


@pytest.mark.soak
def test_a_signature_in_hexadecimal_is_refused_alike_wherever_it_is_wrong() -> None:
    right = hmac.digest(SECRET.encode(), b"{}", "sha256").hex().encode()

    def check(guess: bytes) -> object:
        return signing.github_flaw([SECRET], {"x-hub-signature-256": f"sha256={guess.decode()}"}, b"{}")

    assert welch_t(check, right) < 4.5


@pytest.mark.soak
def test_an_api_key_is_refused_alike_wherever_it_is_wrong() -> None:
    """From the text of a request to the refusal, once the key itself was seen."""
    journal = MemoryJournal()
    right = b"C" * 43
    _, made = keys.create("crm", now=datetime.now(UTC))
    text = f"{made.prefix}_{right.decode()}"
    stored = replace(made, hash=keys._HASHER.hash(text), fragment=keys.fragment(text))
    journal.keep(keys.KIND, {stored.prefix: stored.to_kept()})
    ring = KeyRing(journal)
    assert asyncio.run(ring.recognise(text, sender="a")) == stored

    def check(secret: bytes) -> None:
        try:
            ring.recognise(f"{stored.prefix}_{secret.decode()}", sender="a").send(None)
        except Unrecognised as refused:
            assert refused.why == "wrong secret"  # noqa: PT017  a context manager would be most of what is measured

    assert welch_t(check, right) < 4.5
    ring.close()


@pytest.mark.soak
def test_a_login_is_refused_alike_wherever_it_is_wrong() -> None:
    right = b"shop:" + bytes(range(64, 96))
    password = Secret("${env:PASSWORD}", environ={"PASSWORD": right.removeprefix(b"shop:").decode()})
    config = WebhookSystemConfig.model_construct(basic=BasicLogin.model_construct(user="shop", password=password))

    def check(guess: bytes) -> None:
        login = base64.b64encode(guess).decode()
        assert _basic_flaw(config, Headers({"authorization": f"Basic {login}"})) is not None

    assert welch_t(check, right) < 4.5


@pytest.mark.soak
def test_a_comparison_that_stops_at_the_first_difference_would_be_seen() -> None:
    right = bytes(range(32))
    assert welch_t(lambda guess: all(one == other for one, other in zip(right, guess, strict=True)), right) > 4.5
