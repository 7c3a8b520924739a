"""Every error psycopg knows becomes one of ours, and none carries a value or a password."""

import inspect

import psycopg
import pytest
from psycopg import errors

from bridge.errors import BridgeError, ConfigError, InternalError, PositionLost, SourceRefused, SourceUnavailable
from bridge.postgres.session import ConnectSettings, translate, translated

CLASSES = sorted(
    {value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, psycopg.Error)}
    | {psycopg.Error, psycopg.InterfaceError, psycopg.OperationalError},
    key=lambda kind: kind.__name__,
)
OURS = {ConfigError, InternalError, PositionLost, SourceRefused, SourceUnavailable}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_psycopg_error_has_one_meaning(kind: type[psycopg.Error]) -> None:
    assert type(translate(kind("said"), "trying")) in OURS


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        (errors.InvalidPassword, SourceRefused),
        (errors.InsufficientPrivilege, SourceRefused),
        (errors.InvalidCatalogName, SourceRefused),
        (errors.UndefinedTable, SourceRefused),
        (errors.UndefinedObject, SourceRefused),
        (errors.ConfigurationLimitExceeded, SourceRefused),
        (errors.DataCorrupted, SourceRefused),
        (errors.TooManyConnections, SourceUnavailable),
        (errors.AdminShutdown, SourceUnavailable),
        (errors.CannotConnectNow, SourceUnavailable),
        (errors.QueryCanceled, SourceUnavailable),
        (errors.LockNotAvailable, SourceUnavailable),
        (errors.ObjectInUse, SourceUnavailable),
        (errors.ReadOnlySqlTransaction, InternalError),
        (errors.SyntaxError, InternalError),
        (errors.UniqueViolation, InternalError),
        (psycopg.InterfaceError, SourceUnavailable),
        (psycopg.DataError, InternalError),
    ],
)
def test_what_waits_and_what_stops(kind: type[psycopg.Error], meaning: type[BridgeError]) -> None:
    assert type(translate(kind("said"), "trying")) is meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('FATAL:  password authentication failed for user "x"', SourceRefused),
        ("fe_sendauth: no password supplied", SourceRefused),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', SourceRefused),
        ('FATAL:  database "erp" does not exist', SourceRefused),
        ("server does not support SSL, but SSL was required", SourceRefused),
        ("SSL error: certificate verify failed", SourceRefused),
        ('connection is bad: invalid sslmode value: "frob"', ConfigError),
        ("Connection refused", SourceUnavailable),
        ("FATAL:  the database system is starting up", SourceUnavailable),
        ("FATAL:  sorry, too many clients already", SourceUnavailable),
        ("consuming input failed: server closed the connection unexpectedly", SourceUnavailable),
    ],
)
def test_a_failed_connection_is_known_by_its_text(text: str, meaning: type[BridgeError]) -> None:
    assert type(translate(psycopg.OperationalError(text), "connecting")) is meaning


@pytest.mark.parametrize(
    "text",
    ['can no longer access replication slot "b"', 'cannot read from logical replication slot "b"'],
    ids=["18", "15"],
)
def test_an_invalidated_slot_is_a_lost_position(text: str) -> None:
    assert type(translate(errors.ObjectNotInPrerequisiteState(text), "streaming")) is PositionLost


def test_an_error_that_may_quote_a_row_is_named_by_its_class_only() -> None:
    told = translate(errors.InvalidTextRepresentation('invalid input: "Jane Doe"'), "reading")
    assert "Jane" not in str(told)
    assert "InvalidTextRepresentation (22P02)" in str(told)


def test_the_cause_is_kept() -> None:
    with pytest.raises(SourceUnavailable) as caught, translated("reading"):
        raise errors.QueryCanceled("late")
    assert isinstance(caught.value.__cause__, errors.QueryCanceled)


def test_settings_never_print_the_password() -> None:
    assert "hunter2" not in repr(ConnectSettings("acme", password="hunter2".lower))
