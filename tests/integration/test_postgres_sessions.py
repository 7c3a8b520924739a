"""Sessions that a server refuses, ends, starves or shares: the whole bridge lives with them or says what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.journal.rows import to_json
from bridge.model import Mark, Window
from bridge.sources.postgres.reader import PostgresSource, Settings
from bridge.sources.postgres.session import ConnectSettings
from bridge.sources.postgres.tables import Capture
from demo.server import Database, PostgresServer
from tests.daemon import prepare, wait_for
from tests.loops import Bridge


@pytest.fixture
def ascii_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database that takes any bytes for text."""
    name = "any_bytes"
    postgres_server.sql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    fresh = Database(postgres_server, name)
    yield fresh
    fresh.drop()


def test_bytes_that_are_no_utf8_become_a_letter_and_the_stream_goes_on(
    ascii_database: Database, tmp_path: Path
) -> None:
    """Read from the table and from the change log alike, with the bytes kept."""
    prepare(ascii_database, "item")
    ascii_database.sql(r"INSERT INTO shop.item VALUES (1, 'plain', 1), (2, E'caf\xe9', 2)")
    with Bridge(tmp_path, ascii_database, "item") as bridge:
        bridge.wait_loaded()
        ascii_database.sql(
            r"INSERT INTO shop.item VALUES (3, E'\xff', 3); INSERT INTO shop.item VALUES (4, E'\xc3\xa9', 4)"
        )
        wait_for(lambda: 4 in bridge.replayed("item"), why=bridge.board.report)
        assert {number: row[1] for number, row in bridge.replayed("item").items()} == {1: "plain", 4: "é"}
        letters = [bridge.journal.letter(letter.id) for letter in bridge.journal.letters(stream="item")]
        marks = [letter.raw.marks["name"] for letter in letters if letter and letter.raw]
        assert [mark.raw for mark in marks] == [(b"caf\xe9",), (b"\xff",)]
        assert all(mark.kinds.tolist() == [Mark.UNREADABLE] for mark in marks)


def test_a_re_read_goes_on_behind_a_key_that_is_no_utf8(ascii_database: Database) -> None:
    """Also when it is resumed from what the journal keeps."""
    ascii_database.sql(r"CREATE TABLE word (id text PRIMARY KEY); CREATE PUBLICATION legacy_bridge FOR TABLE word")
    ascii_database.sql(r"INSERT INTO word VALUES ('a'), (E'b\xe9'), (E'c\xc3\xa9'), ('d'), (E'e\\\xff')")
    server = ascii_database.server
    place = ConnectSettings("test", server.host, server.port, ascii_database.name, "postgres")
    settings = Settings("erp", place, (Capture("word", "public.word"),), chunk_rows=1)
    source = PostgresSource(settings)
    source.open(None, {})
    found: list[bytes] = []
    window: Window | None = None
    while window is None or window.state["snapshots"]["word"]["phase"] != "done":
        if window is not None:  # as after a crash
            source.close()
            source.open(window.position, json.loads(to_json(window.state)))
        window = wait_for(lambda: source.read(1.0))
        for batch in window.batches:
            marks = batch.marks.get("id")
            found.append(marks.raw[0] or b"" if marks else batch.columns.column("id")[0].as_py().encode())
    source.close()
    assert found == [b"a", b"b\xe9", "cé".encode(), b"d", b"e\\\xff"]
