"""From the configuration to what reads a system by views: the session of its kind under one extractor."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.config.models import POLLED, Config
from bridge.contract.document import ContractDocument
from bridge.errors import ConfigError
from bridge.ports import Journal
from bridge.sources.view.configured import view_of
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.lint import require
from bridge.sources.view.sessions import session_of
from bridge.sources.view.viewfile import View

if TYPE_CHECKING:
    from bridge.extraction.source import PolledSource

_APART = frozenset({"postgres", "mysql"})  # servers, whose drivers leave our processor alone while they wait
PAGE_ROWS = 100_000  # of a table that is compared; the budget asks for fewer where they take long


def build_extractor(config: Config, system: str, views: Mapping[str, View]) -> ViewExtractor:
    """What reads these views of a system, by stream; not connected.

    Raises: ConfigError for a system without views, InvalidConfig for a view that could do more than read.
    """
    session, kind = session_of(config, system), config.system(system).kind
    for view in views.values():
        require(view, kind)
    return ViewExtractor(system, session, views, dialect=kind, asks_ahead=kind in _APART)


def build_polled(
    config: Config, system: str, documents: Mapping[str, ContractDocument], journal: Journal, *, name: str
) -> "PolledSource":
    """What polls the streams of one system, under this name; not connected.

    Raises: ConfigError, InvalidConfig for a view or a resource that cannot be read so.
    """
    from bridge.extraction.budget import Budget  # noqa: PLC0415  only a daemon polls
    from bridge.extraction.declared import limits_of, plans_of  # noqa: PLC0415  as above
    from bridge.extraction.source import PolledSource  # noqa: PLC0415  as above
    from bridge.sources.rest import configured as rest  # noqa: PLC0415  as above

    views = {stream: view_of(config, stream) for stream in config.streams_of(system, "view")}
    is_rest = config.systems[system].rest is not None
    return PolledSource(
        name,
        system,
        rest.extractor(system, config, documents) if is_rest else build_extractor(config, system, views),
        plans=plans_of(config, system, config.streams_of(system, *POLLED)),
        budget=Budget(limits_of(config, system)),
        images=journal.image,
    )


def view_of_table(table: str, document: ContractDocument, *, dialect: str = "postgres") -> View:
    """A table as a view: every column, paged by the columns that the contract's key is made of.

    Raises: ConfigError for a name that is not schema.table, and a contract without a key.
    """
    key = document.key_columns
    if not key:
        raise ConfigError(f"contract {document.file} has no key, so rows cannot be told apart")
    return table_view(table, key, dialect=dialect)


def table_view(table: str, key: tuple[str, ...], *, dialect: str) -> View:
    """A table as a view: every column, paged by the columns of its key.

    Raises: ConfigError for a name that is not schema.table.
    """
    parts = table.split(".")
    if len(parts) != 2 or not all(parts):  # noqa: PLR2004  schema.table
        raise ConfigError(f"{table!r} names no table", hint="Write schema.table, a view file, or a stream.")
    sign = "`" if dialect == "mysql" else '"'
    name = ".".join(sign + part.replace(sign, 2 * sign) + sign for part in parts)
    return View(path=Path(table), name=table, sql=f"SELECT * FROM {name}", mode="full", key=key, page_rows=PAGE_ROWS)  # noqa: S608  a quoted name
