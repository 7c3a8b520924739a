"""The bench's arithmetic: medians, void rounds, and when a claim counts as met."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from bench.backlog import measure_parts
from bench.claim import Claim, Measure, Reader, Readers, Sample, Target
from bench.daemon import Look
from bench.pg_latency import latencies_ms, quantiles
from bench.runner import is_met, run
from bridge.config.load import load
from bridge.contract import document


def replay(*values: float, rss_mb: float = 100.0) -> Reader:
    """A reader that gives these figures, one a call."""
    figures = iter(values)
    return lambda: Sample({"rate": next(figures)}, rss_mb)


def claim(readers: Readers, target: Target) -> Claim:
    @contextlib.contextmanager
    def prepare() -> Iterator[Readers]:
        yield readers

    return Claim("bulk", "rows", (Measure("rate", "rows/s", target),), prepare)


def silent(_line: str) -> None:
    pass


def test_a_result_is_made_of_medians_over_the_rounds() -> None:
    readers = Readers(replay(80, 90, 50), limit=replay(100, 100, 100, 100, 100, 100), peer=replay(9, 10, 11))
    [result] = run(claim(readers, Target(of_limit=0.8, of_peer=8)), 3, silent)
    assert (result.ours, result.limit, result.peer) == (80, 100, 10)
    assert (result.of_limit, result.of_peer, result.met) == (0.8, 8, True)


def test_a_round_whose_limit_spreads_is_run_again() -> None:
    readers = Readers(replay(10, 90), limit=replay(100, 80, 100, 100))
    [result] = run(claim(readers, Target(of_limit=0.8)), 1, silent)
    assert (result.ours, result.rounds, result.void) == (90, 1, 1)


def test_a_limit_nobody_is_held_to_may_spread() -> None:
    readers = Readers(replay(10, 10, 10), limit=replay(*[100, 1] * 3))
    [result] = run(claim(readers, Target(at_most=10)), 3, silent)
    assert (result.void, result.met) == (0, True)


def test_too_few_rounds_prove_nothing() -> None:
    [result] = run(claim(Readers(replay(10, 10)), Target(at_most=10)), 2, silent)
    assert (result.ours, result.met) == (10, False)


def test_a_claim_that_ran_out_of_tries_is_not_met() -> None:
    readers = Readers(replay(*[100] * 9), limit=replay(100, 100, *[100, 50] * 8))
    [result] = run(claim(readers, Target(of_limit=0.5)), 3, silent)
    assert (result.rounds, result.void, result.met) == (1, 8, False)


def test_a_machine_too_busy_to_measure_on_is_an_error() -> None:
    readers = Readers(replay(*[100] * 3), limit=replay(*[100, 50] * 3))
    with pytest.raises(RuntimeError, match="too busy"):
        run(claim(readers, Target(of_limit=0.5)), 1, silent)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(), True),
        (Target(of_limit=0.5, of_peer=2, at_least=50, at_most=50, rss_mb=300), True),
        (Target(of_limit=0.51), False),
        (Target(of_peer=2.1), False),
        (Target(at_least=51), False),
        (Target(at_most=49), False),
        (Target(rss_mb=299), False),
    ],
)
def test_every_bound_of_a_target_counts(target: Target, *, met: bool) -> None:
    assert is_met(target, ours=50, of_limit=0.5, of_peer=2, rss_mb=300) is met


def test_a_share_that_could_not_be_taken_is_not_reached() -> None:
    assert not is_met(Target(of_limit=0.1), ours=50, of_limit=None, of_peer=None, rss_mb=0)


def test_a_result_is_a_record_of_plain_json() -> None:
    [result] = run(claim(Readers(replay(1)), Target()), 1, silent)
    record = json.loads(json.dumps(result.as_json({"cpu": "x"})))
    expected = {
        "claim",
        "ours",
        "limit",
        "peer",
        "unit",
        "of_limit",
        "of_peer",
        "peak_rss_mb",
        "rounds",
        "met",
        "machine",
    }
    assert expected <= record.keys()


def test_a_slow_part_and_grown_memory_show() -> None:
    looks = [Look(100 * part, float(part + (part > 5)), 50.0 + part) for part in range(1, 11)]
    figures = measure_parts(looks, 1000, began_at=1.0)
    assert figures == {"rate": 100.0, "linear": 2.0, "flat": 60 / 51}


def test_latency_is_from_commit_to_sight() -> None:
    assert latencies_ms({1: 10.0, 2: 11.0}, {1: 10.5, 2: 10.9, 3: 12.0}) == [500.0, 0.0]
    with pytest.raises(RuntimeError, match="1 of 2"):
        latencies_ms({1: 10.0, 2: 11.0}, {1: 10.5})


def test_quantiles_are_the_middle_and_the_ninety_ninth() -> None:
    assert quantiles([float(n) for n in range(1, 1000)]) == {"p50": 500.0, "p99": 990.0}


def test_every_claim_runs_a_valid_configuration_and_contract() -> None:
    config = load(Path(bench.__file__).parent / "bridge.yaml")
    contract = document.load(config.streams["orders"].contract)
    assert len(contract.fields) == 12
