"""A5: whatever rots on the disk is found and named; no read ever gives something else than was written."""

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from bridge.errors import BridgeError, InternalError, JournalCorrupt
from bridge.journal.sqlite import SqliteJournal
from bridge.model import AuditEntry, Commit, NewParked, StreamPhase, StreamState
from bridge.trail import Head
from tests import journal_samples as sample

Read = Callable[[SqliteJournal], object]


def write_journal(path: Path) -> Path:
    """Three blocks of orders, and one of everything else; closed, so that all is in the one file."""
    journal = SqliteJournal.open(path, owner=True)
    for at in range(3):
        journal.append(sample.commit(sample.events(count=3, start=3 * at), at=at))
    state = StreamState("orders", StreamPhase.RUNNING, sample.START, shape=sample.SHAPE)
    parked = (NewParked(1, sample.raw()),)
    journal.append(Commit(letters=(sample.letters(),), parked=parked, streams=(state,)))
    journal.advance("kafka", {"orders": 4})
    journal.close()
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_journal(tmp_path_factory.mktemp("written") / "journal.db")


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(written, tmp_path / "journal.db"))


def read_events(journal: SqliteJournal) -> object:
    return sample.order_numbers(journal.read("orders"))


def everything(journal: SqliteJournal) -> list[object]:
    """All that a journal can be asked for, in comparable form."""
    letters = [journal.letter(number) for number in (1, 2)]
    rows = [letter.raw.columns.to_pylist() for letter in letters if letter is not None and letter.raw is not None]
    parked = [(one.id, one.epoch, one.raw.columns.to_pylist()) for one in journal.parked("orders")]
    return [
        [(block.first, block.epoch, block.contract, block.batch.to_pylist()) for block in journal.read("orders")],
        journal.position("erp"),
        journal.cursor("kafka", "orders"),
        (journal.letters(state=None), rows, parked),
        journal.stream_states(),
    ]


def damage(path: Path, statement: str) -> None:
    """Change a closed file behind the journal's back; `flip(blob)` flips a bit in the blob's middle."""

    def flip(*blob: object) -> bytes:
        (data,) = blob
        assert isinstance(data, bytes)
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]

    connection = apsw.Connection(str(path))
    connection.create_scalar_function("flip", flip, 1)
    connection.execute(statement)
    assert connection.changes() > 0
    connection.close()


DAMAGE: dict[str, tuple[str, str, Read]] = {
    "block data": ("UPDATE block SET data = flip(data) WHERE first = 4", "block 4-6 of stream orders", read_events),
    "block epoch": ("UPDATE block SET epoch = 9 WHERE first = 4", "block 4-6 of stream orders", read_events),
    "block type": ("UPDATE block SET data = x'' WHERE first = 4", "block 4-6 of stream orders", read_events),
    "block gone": ("DELETE FROM block WHERE first = 4", "number 4 of stream orders is missing", read_events),
    "first block gone": ("DELETE FROM block WHERE first = 1", "number 1 of stream orders is missing", read_events),
    "last block gone": ("DELETE FROM block WHERE first = 7", "number 7 of stream orders is missing", read_events),
    "catalogue": ("UPDATE stream SET last = 3", "table stream: the checksum of stream orders", read_events),
    "catalogue gone": ("DELETE FROM stream", "stream orders is not in the catalogue", SqliteJournal.verify),
    "schema": (
        "UPDATE arrow_schema SET message = flip(message)",
        "arrow_schema: the checksum of schema 1",
        read_events,
    ),
    "schema gone": ("DELETE FROM arrow_schema", "table arrow_schema: schema 1", read_events),
    "position": ("UPDATE source SET at = '[1,0]'", "table source", lambda journal: journal.position("erp")),
    "state": ("UPDATE source SET state = '{}'", "table source", lambda journal: journal.position("erp")),
    "cursor": ("UPDATE subscriber SET cursor = 6", "kafka", lambda journal: journal.cursor("kafka", "orders")),
    "stream state": ("UPDATE stream_state SET phase = 'paused'", "stream_state", SqliteJournal.stream_states),
    "letter": ("UPDATE letter SET key = 'N9' WHERE id = 2", "letter 2", lambda journal: journal.letters()),
    "letter rows": ("UPDATE letter_block SET data = flip(data)", "letter_block", lambda journal: journal.letter(2)),
    "letter rows gone": ("DELETE FROM letter_block", "letter_block: block 1", lambda journal: journal.letter(2)),
    "parked": ("UPDATE parked SET data = flip(data)", "table parked", lambda journal: journal.parked("orders")),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_by_verify_and_stops_whoever_reads_it(path: Path, what: str) -> None:
    statement, named, read = DAMAGE[what]
    damage(path, statement)
    journal = SqliteJournal.open(path, owner=True)
    findings = journal.verify()
    assert any(named in finding for finding in findings), findings
    if read is not SqliteJournal.verify:
        with pytest.raises(JournalCorrupt):
            read(journal)
    journal.close()


def test_verify_goes_on_past_a_damaged_block(path: Path) -> None:
    damage(path, "UPDATE block SET data = flip(data) WHERE first IN (1, 7)")
    journal = SqliteJournal.open(path, owner=True)
    findings = journal.verify()
    journal.close()
    assert [finding for finding in findings if "block 1-3" in finding]
    assert [finding for finding in findings if "block 7-9" in finding]


def test_a_damaged_block_is_not_merged(path: Path) -> None:
    damage(path, "UPDATE block SET data = flip(data) WHERE first = 4")
    journal = SqliteJournal.open(path, owner=True)
    journal.append(sample.commit(sample.events(count=1, start=9, contract="2.0.0"), at=9))
    with pytest.raises(JournalCorrupt, match="block 4-6"):
        journal.tend(sample.START)
    assert journal.extents()["orders"].blocks == 4
    journal.close()


@pytest.mark.parametrize(
    ("table", "touch"),
    [
        ("source", lambda journal: journal.position("erp")),
        ("source", lambda journal: journal.append(sample.commit(at=9))),
        ("stream", read_events),
        ("stream", lambda journal: journal.append(sample.commit(sample.events(), at=9))),
        ("subscriber", lambda journal: journal.cursor("kafka", "orders")),
        ("subscriber", lambda journal: journal.advance("kafka", {"orders": 5})),
    ],
)
def test_a_damaged_name_does_not_pass_for_a_new_one(path: Path, table: str, touch: Read) -> None:
    """A source that seems new would be read from the start, a stream numbered from 1, a subscriber served again."""
    damage(path, f"UPDATE {table} SET name = 'x' || name")
    journal = SqliteJournal.open(path, owner=True)
    with pytest.raises(JournalCorrupt, match=f"table {table}"):
        touch(journal)
    journal.close()


@pytest.mark.parametrize("table", ["source", "stream", "subscriber", "stream_state", "arrow_schema"])
def test_a_page_that_hides_a_state_is_named_before_anything_resumes(path: Path, table: str) -> None:
    """The page says that it has no rows: nothing is left whose checksum could be wrong."""
    connection = apsw.Connection(str(path))
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    page_bytes = connection.pragma("page_size")
    connection.close()
    content = bytearray(path.read_bytes())
    count = (root - 1) * page_bytes + 3  # "number of cells on the page" in the b-tree page header
    content[count : count + 2] = bytes(2)
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt, match=f"table {table}"):
        SqliteJournal.open(path, owner=True)


def outcome(path: Path, truth: list[object]) -> str:
    """What a start on this file leads to: "as written", "named", or the silence that must not be.

    Events, positions and cursors are right or refused. A damaged page of SQLite's own may hide a letter or a parked
    batch; `verify` names it.
    """
    try:
        journal = SqliteJournal.open(path, owner=True)
    except InternalError:
        raise
    except BridgeError:
        return "named"
    try:
        found = everything(journal)
    except JournalCorrupt:
        return "named" if journal.verify() else "silent"
    else:
        if found == truth:
            return "as written"
        return "named" if found[:3] == truth[:3] and journal.verify() else "silent"
    finally:
        journal.close()


def test_a_flipped_bit_anywhere_is_harmless_or_named(path: Path, tmp_path: Path) -> None:
    journal = SqliteJournal.open(path, owner=True)
    truth = everything(journal)
    journal.close()
    content = path.read_bytes()
    used = [at for at, byte in enumerate(content) if byte]
    chance = random.Random(5)  # noqa: S311  # seeded, not secret
    outcomes = set()
    for number in range(500):
        at = chance.choice(used)
        rotten = tmp_path / f"rotten-{number}.db"
        rotten.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        outcomes.add(outcome(rotten, truth))
    assert outcomes == {"as written", "named"}


@pytest.mark.parametrize("count", [1, 512, 4_096])
@pytest.mark.parametrize("way", ["cut", "zero"])
def test_a_torn_end_is_harmless_or_named(path: Path, count: int, way: str) -> None:
    journal = SqliteJournal.open(path, owner=True)
    truth = everything(journal)
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[:-count] + (bytes(count) if way == "zero" else b""))
    assert outcome(path, truth) != "silent"


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("an order book, perhaps, but no database" * 100)
    with pytest.raises(JournalCorrupt):
        SqliteJournal.open(path, owner=True)


def audited(path: Path, count: int = 5) -> Head:
    journal = SqliteJournal.open(path, owner=True)
    for number in range(count):
        journal.audit(AuditEntry("ann", "dead.discard", f"orders/{number}", "a test order"))
    head = journal.audit_head()
    journal.close()
    return head


def trail_findings(path: Path, head: Head | None = None) -> list[str]:
    """What both ways of looking say."""
    journal = SqliteJournal.open(path, owner=True)
    try:
        findings = journal.audit_verify(head)
        assert set(journal.audit_verify()) <= set(journal.verify())
    finally:
        journal.close()
    return findings


TAMPERING: dict[str, tuple[str, str]] = {
    "edited": ("UPDATE audit SET reason = 'none' WHERE id = 3", "entry 3 is not what was written"),
    "edited last": ("UPDATE audit SET actor = 'bob' WHERE id = 5", "entry 5 is not what was written"),
    "another time": ("UPDATE audit SET at = at + 1 WHERE id = 1", "entry 1 is not what was written"),
    "no hash": ("UPDATE audit SET hash = NULL WHERE id >= 4", "entry 4 carries no hash"),
    "removed": ("DELETE FROM audit WHERE id = 2", "entries 2 to 2 are missing"),
    "moved": ("UPDATE audit SET id = 9 WHERE id = 2", "entries 2 to 2 are missing"),
    "cut": ("DELETE FROM audit WHERE id > 3", "entries 4 to 5 are missing at the end"),
    "emptied": ("DELETE FROM audit", "entries 1 to 5 are missing at the end"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_with_the_audit_trail_is_named(path: Path, how: str) -> None:
    """S14. What is added afterwards neither mends the chain nor hides the gap."""
    statement, named = TAMPERING[how]
    audited(path)
    damage(path, statement)
    assert any(named in finding for finding in trail_findings(path)), trail_findings(path)
    audited(path, count=2)
    assert any(named.removesuffix(" at the end") in finding for finding in trail_findings(path))


@pytest.mark.parametrize("forgery", ["cut", "rebuilt"])
def test_a_trail_forged_by_someone_who_knows_the_chain_fails_the_anchored_head(path: Path, forgery: str) -> None:
    """S14. The counter of numbers and every hash are made to fit."""
    head = audited(path)
    damage(
        path, "DELETE FROM audit WHERE id > 3" if forgery == "cut" else "UPDATE audit SET actor = 'bob', hash = NULL"
    )
    if forgery == "cut":
        damage(path, "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'audit'")
    assert trail_findings(path) == []  # sealed anew at the start, as a trail from before there were hashes is
    assert trail_findings(path, head) != []


def test_entries_from_before_there_were_hashes_are_sealed_in_order(path: Path) -> None:
    """By the owner, or by whoever adds the next one first."""
    head = audited(path)
    damage(path, "UPDATE audit SET hash = NULL")
    guest = SqliteJournal.open(path, owner=False)
    guest.audit(AuditEntry("cli:ann", "key.create", "crm"))
    assert guest.audit_verify(head) == []
    guest.close()
    damage(path, "UPDATE audit SET hash = NULL")
    assert trail_findings(path, head) == []


def test_processes_that_write_at_once_build_one_chain(path: Path) -> None:
    owner = SqliteJournal.open(path, owner=True)
    guests = [SqliteJournal.open(path, owner=False) for _ in range(3)]

    def write(journal: SqliteJournal) -> None:
        for number in range(20):
            journal.audit(AuditEntry("cli:ann", "reload", str(number)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [owner, *guests]))
    assert owner.audit_head().number == 80
    assert owner.audit_verify() == []
    for journal in (*guests, owner):
        journal.close()
