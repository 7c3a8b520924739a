"""S14: the audit trail's chain, entry by entry."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from bridge.config.rotations import Rotations
from bridge.config.secrets import Secret
from bridge.errors import JournalUnavailable
from bridge.model import AuditEntry
from bridge.notary import INTERVAL_S, Notary
from bridge.testing import MemoryJournal
from bridge.trail import START, Audited, Head, from_json, link, to_json, verify

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


def trail(count: int = 5) -> list[Audited]:
    """A sound trail."""
    made: list[Audited] = []
    before = START
    for number in range(1, count + 1):
        at, entry = AT + timedelta(seconds=number), AuditEntry("ann", "dead.discard", f"orders/{number}", "test")
        before = link(before, number, at, entry)
        made.append(Audited(number, at, entry, before))
    return made


def renumbered(entries: list[Audited]) -> list[Audited]:
    return [replace(one, number=number) for number, one in enumerate(entries, 1)]


def rebuilt(entries: list[Audited]) -> list[Audited]:
    """What a forger makes who knows how the chain is built."""
    before, made = START, []
    for one in entries:
        before = link(before, one.number, one.at, one.entry)
        made.append(replace(one, hash=before))
    return made


def test_a_hash_can_be_recomputed_by_another_program() -> None:
    """The form is published; it must never change."""
    text = b'[1,"2026-03-01T08:00:00.000000Z","ann","dead.discard","orders/1","Zo\\u00eb \\"x\\""]'
    entry = AuditEntry("ann", "dead.discard", "orders/1", 'Zo\u00eb "x"')
    assert link(START, 1, AT, entry) == hashlib.sha256(bytes(32) + text).digest()


@pytest.mark.parametrize("field", ["actor", "action", "subject", "reason"])
def test_an_edited_entry_is_named(field: str) -> None:
    entries = trail()
    entries[2] = replace(entries[2], entry=replace(entries[2].entry, **{field: "other"}))
    assert verify(entries) == ["audit entry 3 is not what was written"]


def test_an_entry_with_another_time_or_no_hash_is_named() -> None:
    entries = trail()
    entries[0] = replace(entries[0], at=AT)
    entries[4] = replace(entries[4], hash=None)
    assert verify(entries) == ["audit entry 1 is not what was written", "audit entry 5 carries no hash"]


def test_a_removed_entry_is_named_by_its_number_or_by_the_next_hash() -> None:
    entries = trail()
    del entries[1:3]
    assert verify(entries) == ["audit entries 2 to 3 are missing"]
    assert verify(renumbered(entries))[0] == "audit entry 2 is not what was written"


def test_entries_that_changed_places_are_named() -> None:
    entries = trail()
    entries[1], entries[2] = replace(entries[2], number=2), replace(entries[1], number=3)
    assert "audit entry 2 is not what was written" in verify(entries)


def test_text_cannot_move_from_one_field_into_the_next() -> None:
    first = link(START, 1, AT, AuditEntry("ann", "dead", "orders", ""))
    assert first != link(START, 1, AT, AuditEntry("ann", "dea", "dorders", ""))
    assert first != link(START, 1, AT, AuditEntry("ann", 'dead","orders', "", ""))


def test_a_trail_that_was_cut_or_rebuilt_is_told_only_by_an_anchored_head() -> None:
    entries = trail()
    anchor = entries[4].head
    assert verify(entries[:3]) == []
    assert verify(entries[:3], anchor) == ["audit entries 4 to 5 are missing at the end"]
    entries[1] = replace(entries[1], entry=AuditEntry("bob", "dead.discard", "orders/2"))
    assert verify(rebuilt(entries)) == []
    assert verify(rebuilt(entries), anchor) == [
        "audit entry 5 is not the one that was anchored; the trail was rewritten"
    ]


def test_heads_and_entries_survive_being_written_down() -> None:
    (one,) = trail(1)
    assert Head.parse(f" {one.head}\n") == one.head
    assert from_json(to_json(one)) == one


@pytest.mark.parametrize("text", ["", "1", "1:ab", f"-1:{'0' * 64}", f"01:{'0' * 64}", f"1:{'G' * 64}"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUMBER:HEX"):
        Head.parse(text)


@pytest.mark.parametrize("change", [{"hash": None}, {"at": "soon"}, {"number": "x"}, {"actor": 1}])
def test_a_line_that_is_no_entry_is_refused(change: dict[str, object]) -> None:
    (one,) = trail(1)
    with pytest.raises(ValueError, match="audit export"):
        from_json(to_json(one) | change)


def test_the_head_is_logged_at_the_start_after_a_change_and_at_the_end() -> None:
    """At most once a minute between; the last word is said at the stop."""
    now, journal = [0.0], MemoryJournal()
    notary = Notary(journal, rotations=Rotations(), monotonic=lambda: now[0])
    with capture_logs() as logs:
        notary.step()
        for _ in range(3):
            journal.audit(AuditEntry("ann", "reload", "configuration"))
            notary.step()
        now[0] += INTERVAL_S
        notary.step()
        now[0] += INTERVAL_S
        notary.step()
        notary.end()
    heads = [(one["event"], one["number"]) for one in logs]
    assert heads == [("audit.head", 0), ("audit.head", 3), ("audit.head", 3)]
    assert logs[-1]["hash"] == journal.audit_head().hash.hex()


def test_a_secret_that_changed_between_two_uses_is_written_down_by_its_reference() -> None:
    """Once a change, however often it is used; never the value."""
    rotations, journal = Rotations(), MemoryJournal()
    notary = Notary(journal, rotations=rotations)
    for value in ("old-canary", "old-canary", "new-canary", "new-canary"):
        rotations.saw("${file:password}", value, folder="/etc/bridge")
        rotations.saw("${file:password}", "other", folder="/etc/elsewhere")
        notary.step()
    (one,) = journal.audit_trail()
    assert (one.entry.action, one.entry.subject) == ("secret.rotated", "${file:password}")
    assert "canary" not in str(one)
    assert "canary" not in str(vars(rotations))


def test_a_rotation_that_cannot_be_written_is_written_the_next_time() -> None:
    class Full(MemoryJournal):
        is_full = True

        def audit(self, entry: AuditEntry) -> None:
            if self.is_full:
                raise JournalUnavailable("the disk is full")
            super().audit(entry)

    rotations, journal = Rotations(), Full()
    for value in ("old", "new"):
        rotations.saw("${env:PASSWORD}", value, folder="")
    notary = Notary(journal, rotations=rotations)
    notary.step()
    journal.is_full = False
    notary.step()
    assert [one.entry.subject for one in journal.audit_trail()] == ["${env:PASSWORD}"]


def test_every_use_of_a_secret_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rotations = Rotations()
    monkeypatch.setattr("bridge.config.secrets.SEEN", rotations)
    environ = {"PASSWORD": "old"}
    Secret("${env:PASSWORD}", environ=environ).reveal()
    environ["PASSWORD"] = "new"  # noqa: S105 - not one
    Secret("${env:PASSWORD}", environ=environ).reveal()
    assert rotations.changed() == ["${env:PASSWORD}"]
