"""What a login of Firebird could do besides reading: every privilege of its own, of its roles and of PUBLIC (I9).

A read-only transaction proves little: a generator moves outside of transactions, and a procedure acts with rights of
its own. Only privileges known to read pass.
"""

from collections.abc import Callable, Iterator, Sequence

from bridge.findings import Finding, Level

Privilege = tuple[str, str, str, int, int]
"""Who has it, its letter, on what, what kind of thing that is, and whether it may be handed on."""

# What everybody may do with kinds of things that hold no data: exceptions, domains, character sets, collations.
_HARMLESS_KINDS = frozenset({7, 9, 11, 17})
_RELATIONS = frozenset({0, 1})
_NAMES = {
    "I": "INSERT", "U": "UPDATE", "D": "DELETE", "R": "REFERENCES", "X": "EXECUTE", "G": "USAGE", "C": "CREATE",
    "L": "ALTER", "O": "DROP", "A": "ALL",
}  # fmt: skip
_FIX = "REVOKE it, or make a login of our own that has SELECT on what we read and nothing else"
_MAX_ROLES = 200

ACCOUNT = """
SELECT TRIM(CURRENT_USER), TRIM(CURRENT_ROLE),
       (SELECT COUNT(*) FROM MON$DATABASE WHERE MON$OWNER = CURRENT_USER) FROM RDB$DATABASE
"""
PRIVILEGES = """
SELECT TRIM(RDB$USER), TRIM(RDB$PRIVILEGE), TRIM(RDB$RELATION_NAME), COALESCE(RDB$OBJECT_TYPE, 0),
       COALESCE(RDB$GRANT_OPTION, 0)
FROM RDB$USER_PRIVILEGES WHERE RDB$USER = ? AND RDB$USER_TYPE IN (8, 13)
"""


def inspect(
    account: tuple[str, str, int], ask: Callable[[str], Sequence[Privilege]], waivers: frozenset[str]
) -> list[Finding]:
    """Every right of the login beyond reading.

    Args:
        account: the row of ACCOUNT.
        ask: the rows of PRIVILEGES of one user or role.
        waivers: what the operator signed for; a waived right is still listed, one level down.
    """
    login, role, owned = account
    found = []
    if login == "SYSDBA" or role == "RDB$ADMIN":
        found.append(_refusal(login, "administers the server: may do everything"))
    elif owned:
        found.append(_refusal(login, "owns the database: may do everything"))
    waiting, seen = [login, "PUBLIC"], {login, "PUBLIC"}
    while waiting and len(seen) < _MAX_ROLES:
        privileges = ask(waiting.pop())
        found += [_refusal(one[0], said) for one in privileges for said in _objections(one)]
        roles = {on for _, letter, on, _, _ in privileges if letter == "M"} - seen
        seen |= roles
        waiting += sorted(roles)
    if waiting:
        found.append(_refusal(login, f"has more than {_MAX_ROLES} roles"))
    if "can_write" in waivers:
        return [
            Finding(Level.WARN, one.code, one.subject, f"{one.detail} (waived: can_write)", one.fix) for one in found
        ]
    return found or [Finding(Level.OK, "right.read_only", login, "may read, and nothing else")]


def _objections(privilege: Privilege) -> Iterator[str]:
    _, letter, on, kind, option = privilege
    if letter == "M":
        if on == "RDB$ADMIN":
            yield "may take the role RDB$ADMIN"
    elif not _is_reading(letter, kind):
        yield f"{_NAMES.get(letter, letter)} on {on}: is more than reading"
    if option:
        yield f"may hand on what it has on {on}"


def _is_reading(letter: str, kind: int) -> bool:
    return (letter == "S" and kind in _RELATIONS) or (letter == "G" and kind in _HARMLESS_KINDS)


def _refusal(subject: str, detail: str) -> Finding:
    return Finding(Level.REFUSE, "right.write", subject, detail, _FIX)
