"""One event is one line, and no line holds a secret or a row value."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
import structlog

from bridge import logs
from bridge.config.secrets import Secret
from bridge.errors import ConfigError, SourceUnavailable

LogLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is written, with logging set back afterwards."""
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    yield io.StringIO()
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def lines(stream: io.StringIO) -> LogLines:
    """JSON logging at debug; returns the lines so far."""
    logs.configure(level="debug", form="json", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def fail_with(value: str) -> None:
    raise KeyError(value)


def test_a_json_line_starts_with_time_level_and_event(lines: LogLines) -> None:
    structlog.get_logger().info("journal.appended", rows=3, path=Path("/a"))
    (line,) = lines()
    assert list(line) == ["timestamp", "level", "event", "rows", "path"]
    assert (line["event"], line["rows"], line["path"]) == ("journal.appended", 3, "/a")


def test_context_is_bound_once_and_shows_on_every_line(lines: LogLines) -> None:
    with structlog.contextvars.bound_contextvars(system="erp"):
        structlog.get_logger().info("source.opened")
    structlog.get_logger().info("daemon.stopped")
    assert [line.get("system") for line in lines()] == ["erp", None]


def test_the_level_changes_at_once_for_loggers_that_exist(lines: LogLines) -> None:
    log = structlog.get_logger().bind(system="erp")
    log.debug("a")
    logs.set_level("warning")
    log.info("b")
    log.warning("c")
    assert [line["event"] for line in lines()] == ["a", "c"]


def test_auto_means_json_where_there_is_no_terminal(stream: io.StringIO) -> None:
    logs.configure(level="info", form="auto", stream=stream)
    structlog.get_logger().info("daemon.started")
    assert json.loads(stream.getvalue())["event"] == "daemon.started"


def test_text_is_readable(stream: io.StringIO) -> None:
    logs.configure(level="info", form="text", stream=stream)
    structlog.get_logger().warning("source.failed", error=SourceUnavailable("no route to db"), count=2)
    assert stream.getvalue().partition("Z ")[2] == (
        'warning  source.failed error="source.unavailable: no route to db" count=2'
        f' hint="{SourceUnavailable.default_hint}"\n'
    )


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("evil", ["\r\nforged", "\x1b[2Jgone", "\u2028x", "\x85x", "\u202etxet", "\x00"])
def test_a_legacy_name_cannot_forge_a_line(stream: io.StringIO, form: Literal["json", "text"], evil: str) -> None:
    """S13, in the event, in keys, in values, in lists, in errors and in lines of libraries."""
    logs.configure(level="info", form=form, stream=stream)
    log = structlog.get_logger()
    event = f"a{evil}"
    log.info(event, **{f"k{evil}": f"v{evil}", "list": [evil], "map": {evil: evil}})
    log.error("source.failed", error=ConfigError(f"table {evil}"))
    logging.getLogger("library").warning("seen %s", evil)
    text = stream.getvalue()
    assert len(text.splitlines()) == 3
    assert all(c.isprintable() or c == "\n" for c in text)


def test_no_canary_reaches_a_line_however_it_is_passed(lines: LogLines, stream: io.StringIO) -> None:
    """S2."""
    log = structlog.get_logger()
    canary = "canary-7"
    row = pa.record_batch({"token": [canary]})
    log.info(
        "a", secret=Secret(canary), nested={"x": [Secret(canary)]}, password=canary, headers={"Authorization": canary}
    )
    log.info("b", dsn=f"postgres://u:{canary}@h/d", url=f"https://u:{canary}@h", text=f"host=h password={canary}")
    log.info("c", batch=row, table=pa.table({"t": [canary]}), raw=canary.encode(), row=object(), column=row.column(0))
    try:
        fail_with(canary)
    except KeyError as error:
        log.warning("d", error=error)
        log.exception("e")
        logging.getLogger("library").exception("f")
    log.error("g", error=SourceUnavailable(f"cannot connect with password={canary}"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn(f"token={canary}", stacklevel=1)
    assert canary not in stream.getvalue()
    assert [line["event"] for line in lines()] == ["a", "b", "c", "d", "e", "library.message", "g", "library.message"]
    assert lines()[3]["error"] == "KeyError"
    assert lines()[4]["frames"][-1].endswith(" fail_with"), "where it happened is said, what it held is not"


def test_a_huge_field_is_cut(lines: LogLines) -> None:
    structlog.get_logger().info("a", text="x" * 1_000_000)
    assert len(lines()[0]["text"]) < 2_100


def test_a_log_that_cannot_be_written_does_not_stop_the_bridge(stream: io.StringIO) -> None:
    logs.configure(level="info", form="json", stream=stream)
    stream.close()
    structlog.get_logger().info("daemon.started")


def test_a_lasting_failure_is_said_once_per_half_minute_with_a_count_and_then_recovered(lines: LogLines) -> None:
    now = 0.0
    repeating = logs.Repeating(
        structlog.get_logger(), failed="source.failed", recovered="source.recovered", clock=lambda: now
    )
    repeating.success()
    for second in range(65):
        now = float(second)
        repeating.failure(SourceUnavailable("connection refused"), system="erp")
    repeating.success(system="erp")
    repeating.success(system="erp")
    said = [(line["event"], line["level"], line["count"]) for line in lines()]
    assert said == [
        ("source.failed", "warning", 1),
        ("source.failed", "warning", 31),
        ("source.failed", "warning", 61),
        ("source.recovered", "info", 65),
    ]
    assert lines()[-1]["failed_s"] == 64.0


def test_what_fails_and_recovers_by_turns_is_said_once_per_half_minute(lines: LogLines) -> None:
    now = 0.0
    repeating = logs.Repeating(structlog.get_logger(), failed="failed", recovered="well", clock=lambda: now)
    for second in range(40):
        now = float(second)
        repeating.failure(SourceUnavailable("connection refused"))
        repeating.success()
    said = [(line["event"], line["count"]) for line in lines()]
    assert said == [("failed", 1), ("well", 1), ("failed", 30), ("well", 30)]
    repeating.failure(ConfigError("another kind"))
    assert lines()[-1]["event"] == "failed", "news is said at once"


def test_a_failure_of_another_kind_is_said_at_once_and_one_that_stops_is_an_error(lines: LogLines) -> None:
    repeating = logs.Repeating(structlog.get_logger(), failed="f", recovered="r", clock=lambda: 0.0)
    repeating.failure(SourceUnavailable("a"))
    repeating.failure(SourceUnavailable("b"))
    repeating.failure(ConfigError("c"))
    assert [(line["level"], line["count"]) for line in lines()] == [("warning", 1), ("error", 3)]
