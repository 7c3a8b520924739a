"""Runs a claim's readers in turns and judges the medians.

A round is void, and run again, when the limit measured before and after ours differs by more than 15 %: then the
machine was busy with something else. A claim whose rounds stay void, or that was given too few, is reported as not met.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.claim import Claim, Measure, Readers, Round, Sample, Target

MAX_SPREAD = 0.15
TRIES_PER_ROUND = 3
MIN_ROUNDS = 3  # fewer show whether a claim runs, not whether it is met


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one measure of a claim: medians over the rounds that count."""

    claim: str
    unit: str
    ours: float
    limit: float | None
    peer: float | None
    of_limit: float | None
    of_peer: float | None
    spread: Mapping[str, float]  # by reader: (largest - smallest) / median of all its runs
    peak_rss_mb: float  # largest of our rounds
    peer_rss_mb: float | None
    rounds: int
    void: int  # rounds that were run again
    met: bool
    notes: tuple[str, ...]

    def as_json(self, machine: Mapping[str, str]) -> dict[str, Any]:
        """The record of the result for other programs."""
        names = ("claim", "ours", "limit", "peer", "unit", "of_limit", "of_peer", "peak_rss_mb", "rounds", "met")
        more = ("spread", "peer_rss_mb", "void", "notes")
        return {name: getattr(self, name) for name in (*names, *more)} | {"machine": dict(machine)}


def run(claim: Claim, rounds: int, say: Callable[[str], None]) -> list[Result]:
    """Measure a claim over so many rounds; one result a measure."""
    with claim.open() as readers:
        for note in readers.notes:
            say(f"  {note}")
        kept: list[Round] = []
        void = 0
        while len(kept) < rounds and len(kept) + void < rounds * TRIES_PER_ROUND:
            made = _round(readers)
            relative = (measure for measure in claim.measures if measure.target.of_limit is not None)
            spread = max((_spread(_values(made.limits, measure)) for measure in relative), default=0.0)
            if spread > MAX_SPREAD:
                void += 1
                say(f"  round void: the limit spread by {spread:.0%}")
            else:
                kept.append(made)
                say(f"  round {len(kept)}/{rounds}: {_describe(claim.measures, made)}")
    if not kept:
        raise RuntimeError(f"{claim.name}: all {void} rounds were void; the machine is too busy to measure on")
    complete = len(kept) == rounds and rounds >= MIN_ROUNDS
    return [
        judge(claim, measure, kept, void=void, complete=complete, notes=readers.notes) for measure in claim.measures
    ]


def judge(
    claim: Claim, measure: Measure, rounds: list[Round], *, void: int, complete: bool, notes: tuple[str, ...] = ()
) -> Result:
    """Medians of one measure over the rounds, and whether they reach its target."""
    ours = _values((r.ours for r in rounds), measure)
    limits = _values((sample for r in rounds for sample in r.limits), measure)
    peers = _values((r.peer for r in rounds if r.peer), measure)
    middle = statistics.median(ours)
    limit = statistics.median(limits) if limits else None
    peer = statistics.median(peers) if peers else None
    peak = max(r.ours.peak_rss_mb for r in rounds)
    of_limit = middle / limit if limit else None
    of_peer = middle / peer if peer else None
    return Result(
        claim=claim.name if len(claim.measures) == 1 else f"{claim.name} {measure.name}",
        unit=measure.unit,
        ours=middle,
        limit=limit,
        peer=peer,
        of_limit=of_limit,
        of_peer=of_peer,
        spread={name: _spread(v) for name, v in (("ours", ours), ("limit", limits), ("peer", peers)) if v},
        peak_rss_mb=peak,
        peer_rss_mb=max((r.peer.peak_rss_mb for r in rounds if r.peer), default=None),
        rounds=len(rounds),
        void=void,
        met=complete and is_met(measure.target, ours=middle, of_limit=of_limit, of_peer=of_peer, rss_mb=peak),
        notes=notes,
    )


def is_met(target: Target, *, ours: float, of_limit: float | None, of_peer: float | None, rss_mb: float) -> bool:
    """Whether every bound of the target holds; a share that could not be taken does not reach its bound."""
    floors = ((target.of_limit, of_limit), (target.of_peer, of_peer), (target.at_least, ours))
    ceilings = ((target.at_most, ours), (target.rss_mb, rss_mb))
    return all(bound is None or (value is not None and value >= bound) for bound, value in floors) and all(
        bound is None or value <= bound for bound, value in ceilings
    )


def _round(readers: Readers) -> Round:
    before = (readers.limit(),) if readers.limit else ()
    ours = readers.ours()
    after = (readers.limit(),) if readers.limit else ()
    return Round(ours, before + after, readers.peer() if readers.peer else None)


def _values(samples: Iterable[Sample], measure: Measure) -> list[float]:
    return [sample.values[measure.name] for sample in samples if measure.name in sample.values]


def _spread(values: list[float]) -> float:
    middle = statistics.median(values) if values else 0.0
    return (max(values) - min(values)) / middle if middle else 0.0


def _describe(measures: tuple[Measure, ...], made: Round) -> str:
    parts = []
    for measure in measures:
        readers = [("ours", [made.ours]), ("limit", list(made.limits)), ("peer", [made.peer] if made.peer else [])]
        found = [f"{name} {statistics.mean(v):,.4g}" for name, samples in readers if (v := _values(samples, measure))]
        parts.append(f"{measure.name}: {', '.join(found)} {measure.unit}")
    return "; ".join(parts)
