"""How far behind the highest cursor a reading begins: commits come late, and clocks step back.

A row is late by as much as its cursor is below the highest one known when it was found. The window is twice the most
that was seen lately, within the bounds of the view; as long as little was seen, and after a sweep found what the cursor
had missed, it is wide. Cursors are counted in ticks: microseconds or whatever unit a time has, days, whole numbers.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bridge.extraction.extractor import Subject

LOOKS = 64  # runs whose delays count
ENOUGH = 20  # runs after which they are believed
_WIDEST_ZONE = timedelta(hours=14)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_S = 86_400


class Overlap(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen of delays."""

    delays: tuple[int, ...] = ()  # the longest of each of the last runs, in ticks
    floor: int = 0  # ticks that the window does not go below: a sweep found more
    trust: int = 0  # runs since then

    def seen(self, delay: int) -> "Overlap":
        """After a run whose latest row was late by this much."""
        trust = min(self.trust + 1, LOOKS)
        return Overlap((*self.delays, delay)[-LOOKS:], self.floor if trust < LOOKS else 0, trust)

    def missed(self, window: int) -> "Overlap":
        """A sweep found rows that the cursor had missed behind a window of so many ticks."""
        return Overlap(self.delays, max(self.floor, 2 * max(window, 1)), 0)


def window(overlap: Overlap, subject: Subject, kind: pa.DataType) -> int:
    """Ticks that the next reading goes back."""
    least, most = (_ticks_of(bound, kind) for bound in subject.overlap)
    if len(overlap.delays) < ENOUGH:
        return most
    return min(max(2 * max(overlap.delays), overlap.floor, least), most)


def since(high: pa.Scalar, overlap: Overlap, subject: Subject) -> pa.Scalar:
    """Where the next reading begins."""
    at = ticks(high)
    if at is None:
        return high  # text and bytes: nothing can be taken away from them
    return _scalar(max(at - window(overlap, subject, high.type), _lowest(high.type)), high.type)


def highest(column: pa.Array, known: pa.Scalar | None) -> pa.Scalar | None:
    """The highest of a page's cursors and the one known; of text the last: only the system knows its order."""
    if column.null_count == len(column):
        return known
    if not _is_counted(column.type):
        return column.drop_null()[-1]
    found = pc.max(column)
    if known is None or known.type != found.type:
        return found
    return found if (ticks(found) or 0) > (ticks(known) or 0) else known


def bounded(high: pa.Scalar, read_at: datetime) -> pa.Scalar:
    """A time that is still to come must not keep what comes before it from being read."""
    if not (pa.types.is_timestamp(high.type) or pa.types.is_date(high.type)):
        return high
    is_aware = pa.types.is_timestamp(high.type) and high.type.tz is not None
    moment = read_at if is_aware else read_at + _WIDEST_ZONE
    most = int(moment.timestamp() * _per_second(high.type))
    return _scalar(min(ticks(high) or 0, most), high.type)


def lateness(column: pa.Array, high: pa.Scalar | None) -> int:
    """Ticks that the latest row of these is below the highest cursor; 0 where none is."""
    if high is None or column.type != high.type or column.null_count == len(column) or not _is_counted(column.type):
        return 0
    return max(0, (ticks(high) or 0) - (ticks(pc.min(column)) or 0))


def ticks(value: pa.Scalar) -> int | None:
    """A cursor as a whole number; None where it cannot be counted."""
    if not value.is_valid or not _is_counted(value.type):
        return None
    if pa.types.is_decimal(value.type):
        return int(value.as_py().scaleb(value.type.scale))
    if pa.types.is_temporal(value.type):
        return int(value.cast(pa.int32() if pa.types.is_date32(value.type) else pa.int64()).as_py())
    return int(value.as_py())


def _scalar(at: int, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(at).scaleb(-kind.scale), kind)
    if pa.types.is_temporal(kind):
        integer = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return pa.array([at], integer).view(kind)[0]
    return pa.scalar(at, kind)


def _is_counted(kind: pa.DataType) -> bool:
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind) or is_time)


def _lowest(kind: pa.DataType) -> int:
    if pa.types.is_unsigned_integer(kind):
        return 0
    if pa.types.is_decimal(kind):
        return 1 - int(10 ** int(kind.precision))
    return int(-(1 << (kind.bit_width - 1)))


def _per_second(kind: pa.DataType) -> float:  # exact for all but days
    if pa.types.is_date32(kind):
        return 1 / _DAY_S
    return 1_000 if pa.types.is_date64(kind) else _PER_SECOND[str(kind.unit)]


def _ticks_of(bound: float, kind: pa.DataType) -> int:
    """A bound of the view: seconds of a time, units of a number; rounded up."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return int(-(-bound * _per_second(kind) // 1))
    scale = int(kind.scale) if pa.types.is_decimal(kind) else 0
    return int(bound * 10**scale)
