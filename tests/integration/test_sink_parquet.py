"""The Parquet sink on a real file system: complete files, exact values, nothing twice, readable all the while."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import export
from bridge.errors import SinkRefused, SinkUnavailable
from bridge.parcel import Parcel
from bridge.sinks import parquet
from bridge.sinks.parquet import ParquetSink
from tests.machine import fill
from tests.parcels import FIELDS, NOON, parcel, rows

TOMORROW = {"_commit_at": NOON + timedelta(days=1)}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ParquetSink]:
    sink = ParquetSink("lake", folder)
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


def send(folder: Path, *parcels: Parcel) -> int | None:
    """Deliver parcels through a sink opened for them; returns where it stands."""

    async def run() -> int | None:
        async with opened(folder) as sink:
            for one in parcels:
                assert await sink.send(one) == {}
            return sink.stands_at("orders")

    return asyncio.run(run())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet"))


def numbers(folder: Path) -> list[int]:
    found: list[int] = []
    for path in folder.rglob("*.parquet"):
        found += pq.read_table(path, columns=["_seq"], partitioning=None).column(0).to_pylist()
    return sorted(found)


def test_a_parcel_becomes_a_file_by_stream_major_version_and_date(tmp_path: Path) -> None:
    assert send(tmp_path, parcel([4, 5, 9])) == 9
    assert files(tmp_path) == ["orders/v1/date=2026-11-02/00000000000000000004-00000000000000000009.parquet"]


def test_every_value_comes_back_exact(tmp_path: Path) -> None:
    send(tmp_path, parcel(range(1, 20)))
    read = pq.read_table(tmp_path / files(tmp_path)[0], partitioning=None)
    assert read.to_pylist() == export.columns(rows(range(1, 20))).to_pylist()
    assert read.schema.field("amount").type == pa.decimal128(38, 2)
    assert read.schema.field("changed_at").type == pa.timestamp("us", "UTC")
    assert read.schema.metadata[b"bridge.contract"] == b"1.2.0"


def test_a_parcel_over_several_dates_becomes_a_file_a_date(tmp_path: Path) -> None:
    early = datetime(1969, 12, 31, 23, 30, tzinfo=UTC)
    change = {2: TOMORROW, 3: {"_commit_at": None}, 4: TOMORROW, 5: {"_commit_at": early}}
    assert send(tmp_path, parcel([1, 2, 3, 4, 5], change=change)) == 5
    assert [name.split("/")[2] for name in files(tmp_path)] == ["date=1969-12-31", "date=2026-11-02", "date=2026-11-03"]
    assert numbers(tmp_path) == [1, 2, 3, 4, 5]
    assert [path.name for path in tmp_path.rglob(".*")] == [".lock"]


def test_a_minor_version_adds_a_column_and_a_major_one_a_folder(tmp_path: Path) -> None:
    wider = pa.schema([*FIELDS, pa.field("note", pa.large_string())])
    send(
        tmp_path,
        parcel([1]),
        parcel([2], contract="1.3.0", fields=wider, change={2: {"note": "new"}}),
        parcel([3], contract="2.0.0"),
    )
    first = sorted((tmp_path / "orders" / "v1").rglob("*.parquet"))
    schema = pa.unify_schemas([pq.read_schema(path) for path in first])
    assert ds.dataset(first, schema=schema).to_table().column("note").to_pylist() == [None, "new"]
    read = pl.scan_parquet(first, missing_columns="insert", extra_columns="ignore", hive_partitioning=False)
    assert read.collect().get_column("_seq").to_list() == [1, 2]
    assert [name.split("/")[1] for name in files(tmp_path)] == ["v1", "v1", "v2"]


def test_a_version_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    for version in ("../../../x", "1/../../..", "", "x.0.0"):
        with pytest.raises(SinkRefused):
            send(folder, parcel([1], contract=version))
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_what_files_hold_already_is_not_written_again(tmp_path: Path) -> None:
    send(tmp_path, parcel([1, 2, 4]), parcel([5, 6], change={6: TOMORROW}))
    assert send(tmp_path, parcel([1, 2]), parcel([2, 3, 4, 5]), parcel([6, 7])) == 7
    assert numbers(tmp_path) == [1, 2, 3, 4, 5, 6, 7]


def test_a_replay_brings_back_a_file_that_was_removed(tmp_path: Path) -> None:
    send(tmp_path, parcel([1, 2]), parcel([3]))
    next(tmp_path.rglob("*1-*2.parquet")).unlink()
    assert send(tmp_path, parcel([1, 2, 3])) == 3
    assert numbers(tmp_path) == [1, 2, 3]


def test_a_stream_without_files_leaves_it_to_the_journal(tmp_path: Path) -> None:
    assert send(tmp_path) is None


def test_leftovers_of_a_crash_are_removed_at_open(tmp_path: Path) -> None:
    send(tmp_path, parcel([1]))
    torn = tmp_path / "orders" / "v1" / "date=2026-11-02" / ".00000000000000000002-00000000000000000003.parquet.tmp"
    torn.write_bytes(b"PAR1 torn")
    assert send(tmp_path) == 1
    assert not torn.exists()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path):
            with pytest.raises(SinkUnavailable, match="another process or sink"):
                await ParquetSink("other", tmp_path).open()
        async with opened(tmp_path):
            pass

    asyncio.run(run())


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    in_the_way = tmp_path / "lake"
    in_the_way.write_text("a file")
    with pytest.raises(SinkUnavailable, match="File exists"):
        send(in_the_way)


def test_a_full_disk_is_waited_for_and_loses_nothing(small_disk: Path) -> None:
    async def run() -> None:
        async with opened(small_disk) as sink:
            await sink.send(parcel([1]))
            ballast = fill(small_disk)
            with pytest.raises(SinkUnavailable, match="No space left"):
                await sink.send(parcel(range(2, 200)))
            ballast.unlink()
            await sink.send(parcel(range(2, 200)))

    asyncio.run(run())
    assert numbers(small_disk) == list(range(1, 200))


@pytest.mark.parametrize("failing", range(8))
def test_after_a_failed_sync_the_same_parcel_is_delivered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    sound, left = parquet._sync, failing

    def sync(folder: Path) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(5, "Input/output error")
        sound(folder)

    async def run() -> None:
        async with opened(tmp_path) as sink:
            monkeypatch.setattr(parquet, "_sync", sync)
            for one in (parcel([1]), parcel([2, 3, 4], change={3: TOMORROW})):
                try:
                    await sink.send(one)
                except SinkUnavailable:
                    await sink.send(one)
            assert left < 0
            assert sink.stands_at("orders") == 4

    asyncio.run(run())
    assert numbers(tmp_path) == [1, 2, 3, 4]


def test_a_call_that_is_cancelled_leaves_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    sound = pq.write_table

    def slow(*args: object, **rest: object) -> None:
        entered.set()
        assert go_on.wait(30)
        sound(*args, **rest)

    async def run() -> None:
        async with opened(tmp_path) as sink:
            monkeypatch.setattr(pq, "write_table", slow)
            call = asyncio.create_task(sink.send(parcel([1, 2])))
            await asyncio.to_thread(entered.wait, 30)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            again = asyncio.create_task(sink.send(parcel([1, 2, 3])))
            go_on.set()
            await again

    asyncio.run(run())
    assert numbers(tmp_path) == [1, 2, 3]


def test_readers_see_whole_files_while_it_writes(tmp_path: Path) -> None:
    async def write() -> None:
        async with opened(tmp_path) as sink:
            for start in range(1, 200, 10):
                later = {start + 4: TOMORROW, start + 6: TOMORROW}
                await sink.send(parcel(list(range(start, start + 10)), change=later))

    def read() -> Iterator[int]:
        yield ds.dataset(tmp_path / "orders", partitioning="hive").count_rows()
        yield pl.scan_parquet(tmp_path / "orders" / "**" / "*.parquet").select(pl.len()).collect().item()

    send(tmp_path, parcel([0]))
    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    seen = [0]
    while writer.is_alive():
        for count in read():
            assert count >= seen[-1]
            seen.append(count)
    writer.join()
    assert list(read()) == [201, 201]


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_whatever_is_sent_again_nothing_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    dates = {number: {"_commit_at": NOON + timedelta(days=data.draw(st.integers(0, 2)))} for number in range(1, 25)}
    wanted: set[int] = set()
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = sorted(data.draw(st.sets(st.integers(1, 24), min_size=1)))
        send(folder, parcel(chosen, change=dates))
        wanted.update(chosen)
    assert numbers(folder) == sorted(wanted)
