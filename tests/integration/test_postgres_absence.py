"""A stream that was out of the configuration for a while: what it missed is a declared gap, never silence."""

from pathlib import Path

import polars as pl

from bridge.model import Op
from demo.server import Database
from tests.daemon import prepare
from tests.loops import Bridge


def fill(database: Database) -> None:
    for stream in ("item", "other"):
        database.sql(f"INSERT INTO shop.{stream} SELECT g, 'n', g FROM generate_series(1, 20) g")


def test_a_stream_that_comes_back_has_a_gap_and_is_read_again(tmp_path: Path, database: Database) -> None:
    """Deletes in the gap are found; the stream that stayed has neither a gap nor a re-read."""
    prepare(database, "item", "other")
    fill(database)
    bridge = Bridge(tmp_path, database, "item", "other")
    with bridge:
        bridge.wait_level()
        bridge.wait_loaded()
    streams = bridge.daemon.document["streams"]
    item = streams.pop("item")
    with bridge:
        database.sql("DELETE FROM shop.item WHERE id <= 5; UPDATE shop.item SET amount = 0 WHERE id = 6")
        database.sql("INSERT INTO shop.item VALUES (99, 'new', 1); UPDATE shop.other SET amount = 0 WHERE id = 6")
        bridge.wait_level("other")
    streams["item"] = item
    with bridge:
        bridge.wait_level()
        database.sql("DELETE FROM shop.item WHERE id = 99; DELETE FROM shop.other WHERE id = 7")
        bridge.wait_level()
        (gap,) = bridge.gaps("item")
        assert "stream item was out of the configuration since" in gap["cause"]
        assert "re-read number" in gap["plan"]
        deleted = bridge.events("item").filter(pl.col("_op") == Op.DELETE)["id"].to_list()
        assert sorted(deleted) == [1, 2, 3, 4, 5, 99]
        assert bridge.gaps("other") == []
        assert bridge.events("other").filter(pl.col("_op") == Op.READ).height == 20
        assert bridge.doubled("item") == bridge.doubled("other") == []
        assert bridge.flow.position is not None
        assert bridge.flow.position.epoch == 2
    with bridge:
        database.sql("INSERT INTO shop.item VALUES (100, 'new', 1)")
        bridge.wait_level()
        assert len(bridge.gaps("item")) == 1
