"""SQLite's failures as the bridge's."""

import apsw
import pytest

from bridge.errors import BridgeError, InternalError, JournalCorrupt, JournalUnavailable
from bridge.journal.database import require_sqlite
from bridge.journal.failures import translate, translated

RAISED_BY_APSW = sorted(
    (one for one in vars(apsw).values() if isinstance(one, type) and issubclass(one, Exception)),
    key=lambda one: one.__name__,
)
EXPECTED: dict[type[Exception], type[BridgeError]] = {
    apsw.FullError: JournalUnavailable,
    apsw.IOError: JournalUnavailable,
    apsw.CantOpenError: JournalUnavailable,
    apsw.BusyError: JournalUnavailable,
    apsw.ReadOnlyError: JournalUnavailable,
    apsw.CorruptError: JournalCorrupt,
    apsw.NotADBError: JournalCorrupt,
    apsw.ConstraintError: InternalError,
    apsw.MisuseError: InternalError,
    OSError: JournalUnavailable,
}


@pytest.mark.parametrize("kind", RAISED_BY_APSW, ids=lambda kind: kind.__name__)
def test_whatever_apsw_raises_becomes_ours(kind: type[Exception]) -> None:
    with pytest.raises(BridgeError) as caught, translated("reading x.db"):
        raise kind("broken")
    assert caught.value.detail.startswith(f"reading x.db: {kind.__name__}")
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: kind.__name__)
def test_the_reaction_fits_the_failure(kind: type[Exception]) -> None:
    assert type(translate(kind("broken"), "x")) is EXPECTED[kind]


def test_a_text_that_cannot_be_decoded_is_damage_and_is_not_shown() -> None:
    with pytest.raises(JournalCorrupt) as caught, translated("reading x.db"):
        b"secret\xff".decode()
    assert "secret" not in caught.value.detail


def test_our_own_errors_pass_unchanged() -> None:
    with pytest.raises(JournalCorrupt, match="block 7"), translated("reading x.db"):
        raise JournalCorrupt("block 7")


def test_an_sqlite_that_can_corrupt_the_file_is_refused() -> None:
    require_sqlite("3.51.3")
    require_sqlite("3.100.0")
    with pytest.raises(JournalUnavailable, match=r"3\.51\.3 is needed"):
        require_sqlite("3.51.2")
