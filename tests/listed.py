"""A REST API over the tables of a SQLite file, so that a test that writes SQL can look at what an API lists."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa

from bridge.config.rest import ResourceConfig, RestSystemConfig
from bridge.extraction.extractor import Extractor
from bridge.model import Column, Shape
from bridge.sources.rest.extractor import RestExtractor
from bridge.sources.rest.resource import Resource
from bridge.sources.view.viewfile import View, parse
from tests.api import LOCAL
from tests.contracts import document_for
from tests.legacy import SqliteLegacy
from tests.receivers import SLOW_HEADERS, Act, Received, Receiver, reply

_SELECT = re.compile(r"SELECT (.+) FROM (\w+)")
_SLOW = "slow"  # a resource whose answer never ends


class ListedLegacy:
    """See `Legacy`. A view `SELECT columns FROM table` is read as the resource /table, its rows as records."""

    has_escapes = False
    slow = f"SELECT n FROM {_SLOW}"

    def __init__(self, path: Path) -> None:
        self._table = SqliteLegacy(path)
        self._server = Receiver(script=self._answer)
        self._working: set[int] = set()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """See `Legacy`."""
        return self._table.run(*statements)

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """See `Legacy`; an API has no bound on an answer but that of the configuration."""
        assert most_bytes is None
        found = {name: parse(text, Path("views/some.sql")) for name, text in views.items()}
        timeout_s = min(view.statement_timeout_s for view in found.values())
        url = f"http://127.0.0.1:{self._server.port}"
        config = RestSystemConfig.model_validate({"url": url, "allow_networks": LOCAL, "timeout_s": timeout_s})
        resources = {name: self._resource(name, view, config.url) for name, view in found.items()}
        return RestExtractor("api", config, resources)

    def working(self) -> int:
        """See `Legacy`: connections that wait for an answer and are still there."""
        return len(self._working)

    def quote(self, name: str) -> str:
        """See `Legacy`."""
        return self._table.quote(name)

    def _resource(self, stream: str, view: View, url: str) -> Resource:
        columns, table = _parts(view)
        kinds = self._kinds(table)
        shape = Shape(table, tuple(Column(name, "json", kinds.get(name, pa.large_string())) for name in columns))
        contract = document_for(self._table.path.parent, stream, shape, *[name for name in view.key if name in columns])
        keys: dict[str, Any] = {"path": f"/{table}", "items": "data", "key": view.key, "mode": view.mode}
        if view.cursor is not None:
            keys |= {"cursor": view.cursor, "cursor_type": "integer", "since": {"parameter": f"since {view.cursor}"}}
            keys["since"]["parameter"] = f"since-{view.cursor}"
        return Resource.of(stream, url, ResourceConfig.model_validate(keys), contract)

    def _kinds(self, table: str) -> dict[str, pa.DataType]:
        found = self.run(f"SELECT name, type FROM pragma_table_info('{table}')")
        return {name: pa.int64() if "INT" in type_ else pa.large_string() for name, type_ in found}

    def _answer(self, received: Received) -> Act:
        table = unquote(urlsplit(received.path).path).strip("/")
        if table == _SLOW:
            return self._hang(received.connection)
        query = parse_qs(urlsplit(received.path).query)
        since = [(name.removeprefix("since-"), int(values[0])) for name, values in query.items()]
        with contextlib.closing(sqlite3.connect(self._table.path)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                rows = connection.execute(f"SELECT * FROM {self.quote(table)}").fetchall()
            except sqlite3.OperationalError:
                return reply(404)
        records = [dict(row) for row in rows]
        listed = [one for one in records if all(one[name] is not None and one[name] >= low for name, low in since)]
        return reply(200, body=json.dumps({"data": listed}).encode())

    def _hang(self, number: int) -> Act:
        async def act(writer: Any) -> None:  # noqa: ANN401  asyncio's
            self._working.add(number)
            try:
                await SLOW_HEADERS(writer)
            finally:
                self._working.discard(number)

        return act


def _parts(view: View) -> tuple[list[str], str]:
    """The columns and the table of a view."""
    match = _SELECT.search(view.sql)
    assert match is not None, view.sql
    names = [name.strip().strip('"').replace('""', '"') for name in match[1].split(", ")]
    return names, match[2]
