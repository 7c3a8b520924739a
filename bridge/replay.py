"""Replay of dead letters: held to the present contract, in order, and never after something newer (I5)."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from bridge.contract.compiled import Drift
from bridge.judge import HELD, Ruling, StreamJudge
from bridge.model import AuditEntry, Commit, Letter, LetterState, Op
from bridge.ports import Journal
from bridge.resilience.failpoint import reach

_PAGE = 500


def replay(
    journal: Journal, judge: StreamJudge, letters: Sequence[Letter], *, actor: str, turned: Callable[[], None]
) -> Counter[str]:
    """Hold open letters of one stream to the present contract, in order, a commit each.

    # I5: one that was overtaken is closed, not emitted late. Where letters hold up their key, those that only wait
    follow as soon as nothing is before them, whoever settled it; a kill in between leaves them to the next call.
    """
    counts: Counter[str] = Counter(replayed=0, superseded=0, still_rejected=0)
    chosen = {letter.id for letter in letters}
    line = open_letters(journal, judge.stream) if judge.holds else letters
    tried = {letter.id for letter in line if letter.id in chosen or _only_waits(letter)}
    newest = _newest(journal, judge.stream, {_key(ruling) for _, ruling in _mended(journal, judge, sorted(tried))})
    stuck: set[str | None] = set()
    for letter in line:
        turned()
        may_go = letter.id in tried and letter.key not in stuck
        mended = next(_mended(journal, judge, [letter.id]), None) if may_go else None
        if mended is None:
            counts["still_rejected"] += letter.id in chosen
            stuck |= {letter.key} if judge.holds and letter.key is not None else set()
            continue
        whole, ruling = mended
        overtaken = max(newest[_key(ruling)], newest[None]) > place_of(whole)
        outcome = LetterState.SUPERSEDED if overtaken else LetterState.REPLAYED
        reach("operate.before_replay")
        journal.append(
            Commit(
                events=() if overtaken or ruling.events is None else (ruling.events,),
                settled={letter.id: (outcome, f"{actor}, contract {judge.contract.version}")},
                audit=(AuditEntry(actor, "dead.replay", f"{judge.stream}/{letter.id}", outcome.value),),
            )
        )
        counts[outcome.value] += 1
    if judge.holds:
        judge.wait_behind(waiting_keys(journal, judge.stream))
    return counts


def _mended(journal: Journal, judge: StreamJudge, numbers: Iterable[int]) -> Iterator[tuple[Letter, Ruling]]:
    """Those of these letters that are open and whose row the present contract accepts, with the ruling on it."""
    for number in numbers:
        letter = journal.letter(number)
        if letter is None or letter.raw is None or letter.state is not LetterState.OPEN:
            continue
        raw = judge.fitted(letter.raw)
        if isinstance(judge.compiled(raw.shape), Drift):
            continue
        ruling = judge.check(raw, epoch=letter.epoch, alone=True)
        if ruling.letters is None:
            yield letter, ruling


def _only_waits(letter: Letter) -> bool:
    """Whether a letter broke no rule itself."""
    return all(breach == HELD for breach in letter.breaches)


def waiting_keys(journal: Journal, stream: str) -> frozenset[str]:
    """Keys of a stream with an open letter."""
    return frozenset(letter.key for letter in open_letters(journal, stream) if letter.key is not None)


def open_letters(journal: Journal, stream: str | None) -> list[Letter]:
    """All open letters of a stream, or of all, in order of id."""
    found: list[Letter] = []
    while page := journal.letters(stream=stream, limit=_PAGE, after=found[-1].id if found else 0):
        found += page
    return found


def place_of(letter: Letter) -> tuple[int, int, int]:
    """Where a letter's change stands in the source's order: epoch, position, index in its transaction."""
    assert letter.raw is not None  # noqa: S101  asked for with its row
    changes = letter.raw.changes
    return letter.epoch, changes.column("_position")[0].as_py(), changes.column("_tx_index")[0].as_py()


def _key(ruling: Ruling) -> str | None:
    """The key of the one row that was judged."""
    found: str | None = ruling.events.batch.column("_key")[0].as_py() if ruling.events else None
    return found


def _newest(journal: Journal, stream: str, keys: set[str | None]) -> defaultdict[str | None, tuple[int, int, int]]:
    """The place of the newest event of each of these keys and, under None, of the newest truncate.

    One pass over the stream.
    """
    newest: defaultdict[str | None, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    if not keys:
        return newest
    wanted = pl.col("_key").is_in(pl.Series(sorted(key for key in keys if key is not None), dtype=pl.String).implode())
    place = ["_position", "_tx_index"]
    for block in journal.read(stream):
        page = pl.DataFrame(pl.from_arrow(block.batch.select(["_op", "_key", *place])))
        page = page.filter(wanted.fill_null(value=False) | (pl.col("_op") == Op.TRUNCATE))
        for key, position, index in page.sort(place).unique("_key", keep="last").select("_key", *place).iter_rows():
            newest[key] = max(newest[key], (block.epoch, position, index))
    return newest
