"""From the configuration to a source of files."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from bridge.config.mistakes import did_you_mean
from bridge.config.models import Config, StreamConfig
from bridge.contract.document import ContractDocument
from bridge.errors import ConfigError
from bridge.metrics import Metrics
from bridge.ports import Journal
from bridge.sources.file import layoutfile
from bridge.sources.file.dbase import Dbase
from bridge.sources.file.delimited import Delimited
from bridge.sources.file.dumps import Comparing
from bridge.sources.file.layout import Layout
from bridge.sources.file.mapping import RecordMapper
from bridge.sources.file.places import Folder, Place
from bridge.sources.file.positions import Positions
from bridge.sources.file.source import FileSource
from bridge.sources.file.steps import Settings


def source(
    config: Config,
    system: str,
    documents: Mapping[str, ContractDocument],
    journal: Journal,
    *,
    metrics: Metrics | None = None,
) -> FileSource:
    """The files of one system. Raises: ConfigError for a mistake in a layout, or when the SFTP client is absent."""
    streams = config.streams_of(system)
    compares = {stream: comparing(each, documents[stream]) for stream, each in streams.items() if each.mode == "full"}
    return FileSource(
        system,
        _settings(config, system),
        {stream: mapper(config, stream, documents[stream]) for stream in streams},
        place=place(config, system),
        known=partial(journal.received, system),
        count=partial(metrics.count_file, system) if metrics is not None else lambda _outcome: None,
        compares=compares,
        images=journal.image,
    )


def _settings(config: Config, system: str) -> Settings:
    declared = config.systems[system].file
    assert declared is not None  # noqa: S101  asked for by its kind
    return Settings(
        patterns={stream: each.file or "" for stream, each in config.streams_of(system).items()},
        spool=config.bridge.journal.sqlite.parent / "files" / system,
        settle_s=declared.settle_s,
        done=declared.done,
        by_time=declared.order == "time",
        after=declared.after,
        archive=declared.archive,
        refuses_same_name=declared.same_name == "refuse",
        remember=timedelta(days=declared.remember_days),
        poll_s=declared.poll_s,
        limit_bytes=int(declared.limit_gigabytes * 1e9),
        stops_when_lost=config.systems[system].on_position_lost == "stop",
    )


def comparing(declared: StreamConfig, document: ContractDocument) -> Comparing:
    """How whole tables are compared. Raises: ConfigError where the contract names no key that stands in a record."""
    key = document.key_columns
    ours = [name for name in key if name.startswith("$")]
    if not key or ours:
        what = f"its key reads {', '.join(ours)}, which is another in each file" if ours else "it has no key"
        raise ConfigError(
            f"{document.file}: {what}, and files with `mode: full` are compared by key",
            hint="Mark the fields that name a row with `primaryKey`, or leave `mode` out.",
        )
    return Comparing(key, declared.most_deletes)


def place(config: Config, system: str) -> Callable[[], Place]:
    """Opens the folder of a system. Raises: ConfigError when the SFTP client is absent."""
    declared = config.systems[system].file
    assert declared is not None  # noqa: S101  asked for by its kind
    if declared.folder is not None:
        return partial(Folder, declared.folder)
    server = declared.sftp
    assert server is not None  # noqa: S101  the configuration has one of both
    try:
        from bridge.sources.file.sftp import Sftp  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"system {system} is an SFTP server, and {error.name} is not installed",
            hint="Install it: pip install 'legacy-bridge[sftp]'.",
        ) from error
    return partial(Sftp, server)


def mapper(config: Config, stream: str, document: ContractDocument) -> RecordMapper:
    """What turns the records of a stream into batches. Raises: ConfigError for a mistake in its layout."""
    declared = config.streams[stream]
    assert declared.layout is not None  # noqa: S101  beside `file`
    layout = layoutfile.load(declared.layout)
    found = RecordMapper.of(stream, f"{declared.system}/{declared.origin}", layout, document)
    if not found.wanted:
        raise ConfigError(f"{document.file}: no field reads a column of {declared.layout}")
    lost = list(_lost(found, columns_of(layout)))
    if lost:
        raise ConfigError(
            "\n".join(f"{document.file}: {declared.layout} has no column `{name}`{hint}" for name, hint in lost),
            hint="`legacy-bridge file show LAYOUT` lists its columns.",
        )
    return found


def columns_of(layout: Layout) -> list[str] | None:
    """The columns that every file of a layout has; None where each file says it."""
    if isinstance(layout, Positions):
        return [shown.name for shown in layout.flat.shown]
    if isinstance(layout, Delimited):
        return [column.name for column in layout.columns]
    assert isinstance(layout, Dbase)  # noqa: S101  there are three
    return None


def _lost(found: RecordMapper, known: list[str] | None) -> Iterator[tuple[str, str]]:
    for name in found.wanted if known is not None else ():
        if known is not None and name not in known:
            hint = did_you_mean(name, known)
            yield name, f" ({hint})" if hint else ""


def mistakes(config: Config, stream: str, document: ContractDocument) -> list[str]:
    """What is wrong with the layout of a stream that is read from files, with file and line."""
    if config.streams[stream].layout is None:
        return []
    try:
        mapper(config, stream, document)
        if config.streams[stream].mode == "full":
            comparing(config.streams[stream], document)
    except ConfigError as error:
        return [error.detail]
    return []
