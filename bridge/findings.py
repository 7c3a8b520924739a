"""What a look at a legacy system finds: one sentence each, with what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import SourceRefused


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # runs, but somebody should know
    REFUSE = "refuse"  # the bridge does not start
    FAIL = "fail"  # the bridge runs and a person must act now


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found; never holds a row's value."""

    level: Level
    code: str  # stable, dotted: "right.table_write"
    subject: str  # what it is about: a table, a role, a setting
    detail: str
    fix: str = ""  # what to do; empty when all is well


def refuse(findings: Iterable[Finding]) -> None:
    """Stop the start when anything was found that forbids it. Raises: SourceRefused with the whole list."""
    refused = [finding for finding in findings if finding.level is Level.REFUSE]
    if refused:
        lines = [f"{finding.code} {finding.subject}: {finding.detail} [{finding.fix}]" for finding in refused]
        raise SourceRefused("\n  ".join([f"{len(lines)} reason(s) not to start:", *lines]))
