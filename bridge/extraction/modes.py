"""What each mode reads, in which order. The promises of each are in docs/views-modes.md."""

from bridge.extracted import RunKind
from bridge.extraction import overlap, scalars
from bridge.extraction.changes import FoundBy
from bridge.extraction.extractor import Subject
from bridge.extraction.progress import Phase, Progress, Reading


def phases(subject: Subject, kind: RunKind) -> tuple[Phase, ...]:
    """The phases of a reading, in order.

    - incremental: the rows from the highest cursor less the overlap on, the rows without a cursor.
    - append: the same; then what the next reading will not meet again is forgotten.
    - full, or every row of an incremental stream: in order of key; then what was not met is deleted.
    - sweep: every key and cursor, the rows of those that are new or another; then what was not met is deleted.
    """
    if kind == "sweep" and subject.mode == "incremental":
        return ("keys", "deletes")
    if subject.mode == "full" or (kind != "run" and subject.mode == "incremental"):
        return ("rows", "deletes")
    reads: tuple[Phase, ...] = ("cursor", "without") if subject.cursor else ("rows",)
    return (*reads, "forget") if subject.mode == "append" else reads


def phase_after(subject: Subject, reading: Reading) -> Phase | None:
    """The phase that follows; None: the reading is over."""
    order = phases(subject, reading.kind)
    at = order.index(reading.phase) + 1
    return order[at] if at < len(order) else None


def tracks(subject: Subject, kind: RunKind) -> bool:
    """Whether it matters at the end what a reading has seen."""
    return phases(subject, kind)[-1] in {"deletes", "forget"}


def can_wait(subject: Subject, reading: Reading | None) -> bool:
    """Whether changes can be read before a reading is gone on with: its marks and numbers outlive that."""
    is_sweep = reading is not None and reading.kind == "sweep" and reading.phase in {"keys", "deletes"}
    return is_sweep and subject.mode == "incremental" and subject.cursor is not None


def found_by(subject: Subject, reading: Reading) -> FoundBy:
    """How events of a reading came to be known."""
    if reading.kind == "sweep" and subject.mode == "incremental":
        return "sweep"
    return "cursor" if reading.phase in {"cursor", "without"} else "compare"


def opened(subject: Subject, progress: Progress, kind: RunKind) -> Reading:
    """A reading that begins; nothing can be compared before the first one is complete."""
    kind = kind if progress.is_loaded and subject.mode != "append" else "run"
    kind = "sweep" if progress.owes_sweep and progress.aside is None and kind == "run" else kind
    kind = "full" if progress.is_of_another and subject.mode == "incremental" else kind
    since = None
    if kind == "run" and progress.base is not None and subject.cursor is not None:
        base = scalars.unpack(progress.base)[0]
        since = scalars.pack([overlap.since(base, progress.overlap, subject)])
    return Reading(kind=kind, phase=phases(subject, kind)[0], since=since, begun_at=progress.until)
