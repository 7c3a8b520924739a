"""What is wrong with a polled source, for people."""

from collections.abc import Mapping, Sequence

from bridge.findings import Finding, Level

_RESUME = "`legacy-bridge system resume SYSTEM` lets it be read."
_ODD = {
    "rows_that_share_a_key": (
        "view.double_keys",
        "rows have a key that another row of the last reading has; one of each is told",
        "Name a key in the view's header that is unique, or make the view's rows so.",
    ),
    "rows_without_a_key": (
        "view.null_keys",
        "rows have no value in a key column; they are told once, and their going is not",
        "Leave them out in the view, or name another key.",
    ),
    "deletes_withheld": (
        "rest.no_keys",
        "records have no key that can be read, and each may be one that is missed: nothing is taken for deleted",
        "Mend the records, or `key` of the resource.",
    ),
    "cursors_ahead": (
        "view.future_cursor",
        "pages held a cursor that is still to come; what has a lower one is looked for as if it were not there",
        "Mend the rows, or have the view show another cursor.",
    ),
}


def blind(source: str, unseen: Sequence[str]) -> Finding:
    """The system says nothing about these limits of its budget."""
    detail = (
        f"{' and '.join(unseen)} of the budget cannot be kept: the login may not see it, or the system does not tell"
    )
    fix = "Grant what `legacy-bridge dba-letter` prints for it, or take it out of the budget."
    return Finding(Level.WARN, "budget.unseen", source, detail, fix)


class Troubles:
    """What became of a source's last readings, by stream; written by the thread that reads, told to any."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._odd: dict[str, dict[str, int]] = {}
        self._failed: dict[str, str] = {}

    def read(self, stream: str, odd: Mapping[str, int]) -> None:
        """A reading is complete; so many of its rows were odd."""
        self._failed.pop(stream, None)
        self._odd.pop(stream, None)
        if odd:
            self._odd[stream] = dict(odd)

    def failed(self, stream: str, why: str) -> None:
        """A run has failed."""
        self._failed[stream] = why

    def told(self, held: str | None, unseen: Sequence[str] = ()) -> list[Finding]:
        """One finding of each kind, whatever the number of streams it is about.

        `held` is why nothing is read, `unseen` what of the budget is not kept.
        """
        failed, odd = dict(self._failed), dict(self._odd)
        found = [] if held is None else [self._warning("view.paused", f"nothing is read: {held}", _RESUME)]
        if unseen:
            found.append(blind(self._source, unseen))
        if failed:
            detail = "; ".join(f"the last run of stream {stream} failed: {why}" for stream, why in failed.items())
            found.append(self._warning("view.run_failed", detail, "See `legacy-bridge runs`."))
        for what, (code, text, fix) in _ODD.items():
            about = [f"stream {stream}: {counts[what]} {text}" for stream, counts in odd.items() if what in counts]
            if about:
                found.append(self._warning(code, "; ".join(about), fix))
        return found

    def _warning(self, code: str, detail: str, fix: str) -> Finding:
        return Finding(Level.WARN, code, self._source, detail, fix)
