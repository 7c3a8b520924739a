"""Cursors that nobody moves any more and that retention waits for: their sink, or their stream there, is gone."""

from collections.abc import Collection, Mapping

from bridge.parcel import Progress

ACTION = "Configure it again, or run `legacy-bridge sink forget {}`."


def left_behind(
    held: Mapping[str, Mapping[str, Progress]], sent: Mapping[str, Collection[str]]
) -> dict[str, tuple[str, str]]:
    """What health says of them, and what a person should do, by component.

    Args:
        held: every subscriber and how far it is, by the journal.
        sent: the streams of each sink that is configured.
    """
    found = {}
    for sink, reached in held.items():
        lost = sorted(reached.keys() - sent.get(sink, ()))
        if ":" in sink or not lost:  # one with a colon is a cursor of the HTTP door's
            continue
        what = "it is configured no more" if sink not in sent else f"it is sent {', '.join(lost)} no more"
        found[f"cursor:{sink}"] = (f"{what}, and retention waits for it", ACTION.format(sink))
    return found
