"""From the operator's configuration to the views of a system: loaded, linted, their parameters given."""

from bridge.config.models import Config, StreamConfig
from bridge.errors import ConfigError, NoSuchName
from bridge.sources.view.grants import Grants
from bridge.sources.view.harmless import FUNCTIONS
from bridge.sources.view.letter import Letter, Reading
from bridge.sources.view.lint import Linted, lint, require
from bridge.sources.view.viewfile import View, load

_SPARE = 2  # `view sample` and `doctor` beside the running bridge


def dialect_of(config: Config, stream: str) -> str:
    """The kind of system whose SQL a stream's view is written in. Raises: NoSuchName where no view reads it."""
    declared = config.streams.get(stream)
    if declared is None or declared.view is None:
        known = ", ".join(sorted(name for name, each in config.streams.items() if each.view is not None)) or "none"
        raise NoSuchName(f"there is no stream {stream!r} that is read by a view", hint=f"Read by views are: {known}.")
    return config.systems[declared.system].kind


def view_of(config: Config, stream: str) -> View:
    """The view that a stream is read by. Raises: ConfigError with every mistake of its header, SQL and parameters."""
    dialect, path = dialect_of(config, stream), config.streams[stream].view
    assert path is not None  # noqa: S101  asked for just now
    view = load(path)
    require(view, dialect)
    return view.given(config.streams[stream].parameters)


def look_at(config: Config, stream: str) -> tuple[View, Linted]:
    """A stream's view with what lint finds in it. Raises: ConfigError for its header."""
    dialect, path = dialect_of(config, stream), config.streams[stream].view
    assert path is not None  # noqa: S101  asked for just now
    view = load(path)
    return view, lint(view, dialect)


def letter_of(config: Config, system: str) -> Letter:
    """What the letter to a system's DBA is made of.

    Raises: ConfigError where the system is no database, InvalidConfig for a view that is not to be read so.
    """
    declared = config.system(system)
    if declared.kind not in FUNCTIONS:
        raise ConfigError(f"system {system} is no database but `{declared.kind}`", hint="It has no DBA to write to.")
    streams = config.streams_of(system, "view")
    found = {stream: (view_of(config, stream), look_at(config, stream)[1]) for stream in streams}
    logs = tuple(each.origin for each in config.streams_of(system, "log").values())
    place, database, login = _reached(config, system)
    tables = sorted({table for _, linted in found.values() for table in linted.tables} | set(logs))
    functions = sorted({name for _, linted in found.values() for name in linted.functions})
    return Letter(
        system=system,
        instance=config.bridge.name,
        place=place,
        grants=Grants(
            declared.kind,
            login,
            database,
            declared.budget.connections + _SPARE,
            tuple(tables),
            tuple(functions),
            sees_load=bool(declared.budget.busy_sessions or declared.budget.replica_lag_s),
        ),
        readings=tuple(_reading(stream, streams[stream], view, linted) for stream, (view, linted) in found.items()),
        budget=declared.budget,
        log_tables=logs,
    )


def _reading(stream: str, declared: StreamConfig, view: View, linted: Linted) -> Reading:
    whens = [f"every {declared.every}"] if declared.every else [f"at {declared.cron}"] if declared.cron else []
    whens += [f"after {declared.after}"] if declared.after else []
    if declared.sweep:
        whens.append(f"its keys alone {declared.sweep}")
    when = "; ".join(whens) or "when the operator asks"
    return Reading(stream, view.mode, when, linted.tables, view.page_rows, view.statement_timeout_s, view.path.name)


def _reached(config: Config, system: str) -> tuple[str, str, str]:
    """Where a database is, its name, and our login."""
    declared = config.systems[system]
    if declared.sqlite is not None:
        return f"the file {declared.sqlite.path}", declared.sqlite.path.name, ""
    server = (
        declared.postgres or declared.mysql or declared.firebird or declared.mssql or declared.oracle or declared.db2
    )
    assert server is not None  # noqa: S101  a database
    database = server.database or "postgres"
    return f"the database {database} on {server.host or 'its server'}", database, server.user or "bridge_ro"
