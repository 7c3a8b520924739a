"""Ask for something to be done: by the daemon that owns the journal, or here when no daemon runs.

A request is first left in the journal, so it is carried out exactly as an operator asked for it and its outcome stays
on record. Then either the daemon settles it, or this process takes the journal's lock and settles it itself.
Re-reads need the daemon's session on the legacy system; without a daemon they stay queued.
"""

import os
import pwd
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, JournalLocked

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.config.models import Config
    from bridge.ports import Journal, Request

TAKE_OVER_S = 1.0  # how often to try whether the journal's owner has gone
PATIENCE_S = 60.0


class RequestRefused(BridgeError):
    """What was asked for was not done; nothing changed."""

    code = "request.refused"
    default_hint = "See `legacy-bridge status`."
    exit_code = 1


class RequestPending(BridgeError):
    """The daemon has not answered yet; the request stays queued."""

    code = "request.pending"
    default_hint = "Is the daemon well? See `legacy-bridge status`; `legacy-bridge audit` shows when it was done."
    exit_code = 75


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    done: bool  # False: queued until a daemon runs
    result: Mapping[str, Any]


def actor() -> str:
    """Who is asking, for the audit trail: the user the process runs as, whatever the environment says."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's user needs no name
        return f"cli:{os.getuid()}"


def ask(session: "Session", kind: str, args: Mapping[str, Any], *, patience_s: float = PATIENCE_S) -> Outcome:
    """Leave a request and wait until it is settled, by the daemon or by this process.

    Raises: RequestRefused with the reason, RequestPending when the daemon took longer than `patience_s`.
    """
    from bridge.asking import pauses
    from bridge.asking import settled as find_settled

    config = session.config()
    with session.journal(config) as journal:
        request_id = journal.request(kind, args, actor())
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if _settle_here(config, request_id, queue_only=kind.startswith(("snapshot.", "run."))):
                return Outcome(done=False, result={})
            for pause_s in pauses(min(TAKE_OVER_S, deadline - time.monotonic())):
                settled = find_settled(journal, request_id)
                if settled is not None:
                    return _outcome(settled)
                time.sleep(pause_s)
    raise RequestPending(f"the daemon has not settled request {request_id} ({kind}) within {patience_s:.0f} s")


def _settle_here(config: "Config", request_id: int, *, queue_only: bool) -> bool:
    """Carry the request out when no daemon owns the journal; True when it has to wait for one."""
    from bridge.journal.sqlite import SqliteJournal

    try:
        journal = SqliteJournal.open(config.bridge.journal.sqlite, owner=True)
    except JournalLocked:
        return False
    try:
        if not queue_only:
            _perform(journal, config, request_id)
    finally:
        journal.close()
    return queue_only


def _perform(journal: "Journal", config: "Config", request_id: int) -> None:
    """Do what the daemon would do between two windows."""
    from bridge.app import build_judges, load_contracts, pin_contracts, systems_of
    from bridge.operate import Desk, perform
    from bridge.routing import sinks_of

    documents = load_contracts(config)
    pin_contracts(journal, documents)
    desk = Desk(
        journal,
        build_judges(config, documents, journal),
        systems=systems_of(config),
        sinks=sinks_of(config),
        halts=dict.fromkeys(config.systems, ()),
    )
    for request in journal.requests():
        if request.id == request_id:
            perform(desk, request)


def _outcome(request: "Request") -> Outcome:
    result = request.result or {}
    if not request.ok:
        hint = result.get("hint")
        raise RequestRefused(str(result.get("error", f"{request.kind} failed")), hint=str(hint) if hint else None)
    return Outcome(done=True, result=result)
