"""What a login of MySQL or MariaDB could do besides reading: every grant it has, directly or by a role (I9).

SHOW GRANTS is asked, since a read-only session proves nothing: SET SESSION TRANSACTION READ WRITE undoes it. Only
rights known to read pass; one that is not known is refused.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from bridge.findings import Finding, Level

READING = frozenset({
    "USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "PROCESS", "REPLICATION CLIENT", "REPLICATION SLAVE",
    "BINLOG MONITOR", "REPLICA MONITOR", "SLAVE MONITOR", "SHOW_ROUTINE", "SHOW CREATE ROUTINE",
})  # fmt: skip
_WHY = {
    "ALL PRIVILEGES": "may do everything",
    "FILE": "may write files on the server (INTO OUTFILE) and read any it can",
    "SUPER": "may write on a read-only server and change its settings",
    "EXECUTE": "may run routines, which act with their definer's rights",
    "LOCK TABLES": "may lock tables that others write to",
    "CREATE TEMPORARY TABLES": "may create temporary tables",
    "PROXY": "may act as another login",
}
FIX = "REVOKE it, or make a login of our own that has SELECT on what we read and nothing else"
_GRANT = re.compile(
    r"GRANT (?P<rights>.+?) ON (?:(?P<kind>TABLE|FUNCTION|PROCEDURE|PACKAGE(?: BODY)?) )?(?P<on>\S.*?) TO ", re.DOTALL
)
_ROLES = re.compile(r"GRANT (?P<roles>[`'\"].+?) TO ", re.DOTALL)
_COLUMNS = re.compile(r"\([^)]*\)")
_ROLE = re.compile(r"""[`'"](?P<name>(?:[^`'"])+)[`'"](?:@[`'"](?P<host>[^`'"]*)[`'"])?""")
_MAX_ROLES = 200

Show = Callable[[str | None], Sequence[str]]
"""The lines of SHOW GRANTS for a role, written as SHOW GRANTS writes it; None: for the login itself."""


def inspect(show: Show, login: str, waivers: frozenset[str]) -> list[Finding]:
    """Every right of the login beyond reading.

    Args:
        show: asks the server.
        login: its name, for the findings.
        waivers: what the operator signed for; a waived right is still listed, one level down.
    """
    found = []
    seen: set[str] = set()
    waiting: list[str | None] = [None]
    while waiting and len(seen) < _MAX_ROLES:
        lines = show(role := waiting.pop())
        found += [finding for line in lines for finding in judge(line, role or login)]
        new = {name for line in lines for name in roles_of(line)} - seen
        seen |= new
        waiting += sorted(new)
    if waiting:
        found.append(_refusal(login, f"has more than {_MAX_ROLES} roles"))
    if "can_write" in waivers:
        found = [
            Finding(Level.WARN, one.code, one.subject, f"{one.detail} (waived: can_write)", one.fix) for one in found
        ]
    if not found:
        found.append(Finding(Level.OK, "right.read_only", login, "may read, and nothing else"))
    return list(dict.fromkeys(found))  # a role shows what the login has besides


def judge(line: str, subject: str) -> Iterator[Finding]:
    """What one line of SHOW GRANTS allows beyond reading."""
    bare = line.strip()
    if bare.startswith("SET DEFAULT ROLE ") or (_ROLES.match(bare) and " ON " not in bare.split(" TO ")[0]):
        if bare.endswith(("WITH ADMIN OPTION", "WITH GRANT OPTION")):
            yield _refusal(subject, "may hand a role on")
        return
    match = _GRANT.match(bare)
    if match is None:
        yield _refusal(subject, f"has a grant that is not understood: {bare.split(' IDENTIFIED ')[0][:100]}")
        return
    place = match["on"]
    for right in _split(match["rights"]):
        if right not in READING or match["kind"] not in (None, "TABLE"):
            yield _refusal(subject, f"{right} on {place}: {_WHY.get(right, 'is more than reading')}")
    if "WITH GRANT OPTION" in bare or "GRANT OPTION" in match["rights"]:
        yield _refusal(subject, f"GRANT OPTION on {place}: may hand its rights on")


def roles_of(line: str) -> Iterable[str]:
    """The roles that a line of SHOW GRANTS gives."""
    bare = line.strip()
    match = _ROLES.match(bare)
    if match is None or _GRANT.match(bare):
        return ()
    return [one[0] for one in _ROLE.finditer(match["roles"])]


def _split(rights: str) -> list[str]:
    return [" ".join(one.split()).upper() for one in _COLUMNS.sub("", rights).split(",") if one.strip()]


def _refusal(subject: str, detail: str) -> Finding:
    return Finding(Level.REFUSE, "right.write", subject, detail, FIX)
