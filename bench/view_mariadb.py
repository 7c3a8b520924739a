"""A view of 1 M rows x 12 of MariaDB into Arrow columns, against its own client that throws them away.

``python -m bench.view_mariadb ours|limit|peer PORT ROWS`` is one reader; it prints rows per second.
"""

import contextlib
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench import program, source
from bench.claim import Claim, Measure, Readers, Sample, Target

ROWS = 1_000_000
PAGE_ROWS = 50_000
VIEW = "-- mode: full\n-- key: id\nSELECT * FROM orders\n"
FILL = """INSERT INTO orders SELECT seq, CONCAT('ORD-', LPAD(seq, 9, '0')), seq % 5000, ELT(1 + seq % 3, 'open', 'paid',
'shipped'), seq % 100000 / 100, IF(seq % 7 = 0, NULL, seq % 1000 / 77), '2020-01-01' + INTERVAL seq SECOND,
IF(seq % 5 = 0, NULL, '2020-01-01' + INTERVAL seq % 2000 DAY), seq % 2,
IF(seq % 3 = 0, NULL, CONCAT('note of order ', seq, ' with some text')), seq / 7,
'2021-01-01 00:00:00' + INTERVAL seq SECOND FROM seq_1_to_{rows}"""
TABLE = """CREATE TABLE orders (id BIGINT UNSIGNED PRIMARY KEY, order_no VARCHAR(20) NOT NULL, customer_id INT NOT NULL,
status VARCHAR(10) NOT NULL, total DECIMAL(12,2) NOT NULL, tax DECIMAL(12,4), placed_at DATETIME(6) NOT NULL,
shipped_on DATE, is_paid TINYINT(1) NOT NULL, note VARCHAR(200), weight DOUBLE, updated_at TIMESTAMP NOT NULL)"""


def ours(port: int, database: str) -> int:
    """Rows read through the extractor."""
    from bridge.extraction.extractor import Question  # noqa: PLC0415  each reader pays for its own imports
    from bridge.sources.view.dialects.mysql.session import MysqlSession, MysqlSettings  # noqa: PLC0415
    from bridge.sources.view.extractor import ViewExtractor  # noqa: PLC0415
    from bridge.sources.view.viewfile import parse  # noqa: PLC0415

    settings = MysqlSettings("bench", "127.0.0.1", port, database, database, lambda: "read")
    view = parse(VIEW, Path("orders.sql"))
    extractor = ViewExtractor("shop", MysqlSession(settings), {"orders": view}, dialect="mysql")
    question, rows = Question("orders", PAGE_ROWS), 0
    while True:
        page = extractor.page(question)
        rows += len(page.columns)
        if page.resume is None:
            extractor.close()
            return rows
        question = replace(question, resume=page.resume)


def limit(port: int, database: str) -> int:
    """Rows that MariaDB's own client throws away."""
    command = [
        "mariadb",
        "--no-defaults",
        "--quick",
        "--skip-ssl",
        "-h127.0.0.1",
        f"-P{port}",
        f"-u{database}",
        "-pread",
    ]
    subprocess.run([*command, "-e", "SELECT * FROM orders", database], check=True, stdout=subprocess.DEVNULL)
    return 0


def peer(port: int, database: str) -> int:
    """Rows read with connectorx where it is installed, else with PyMySQL's unbuffered cursor."""
    try:
        connectorx = importlib.import_module("connectorx")  # in the bench extra
    except ImportError:
        return _pymysql(port, database)
    dsn = f"mysql://{database}:read@127.0.0.1:{port}/{database}"
    return int(connectorx.read_sql(dsn, "SELECT * FROM orders", return_type="arrow").num_rows)


def _pymysql(port: int, database: str) -> int:
    import pymysql  # noqa: PLC0415  as above
    from pymysql.cursors import SSCursor  # noqa: PLC0415

    rows = 0
    connection = pymysql.connect(host="127.0.0.1", port=port, user=database, password="read", database=database)  # noqa: S106  throw-away
    with connection, connection.cursor(SSCursor) as cursor:
        cursor.execute("SELECT * FROM orders")
        while block := cursor.fetchmany(PAGE_ROWS):
            rows += len(block)
    return rows


READERS = {"ours": ours, "limit": limit, "peer": peer}


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A table of a million orders, in memory."""
    from tests.mariadb import MariaServer  # noqa: PLC0415  Debian's server is needed here alone

    rows = source.scaled(ROWS)
    server = MariaServer.start("--innodb-buffer-pool-size=1G")
    try:
        database = server.create_database()
        database.sql(TABLE, FILL.format(rows=rows), "ANALYZE TABLE orders")

        def reader(name: str) -> Sample:
            return program.measure("bench.view_mariadb", name, str(server.port), database.name, str(rows))

        chosen = "connectorx" if importlib.util.find_spec("connectorx") else "PyMySQL, SSCursor in blocks"
        notes = (f"pages of {PAGE_ROWS} rows; peer: {chosen}",)
        yield Readers(lambda: reader("ours"), limit=lambda: reader("limit"), peer=lambda: reader("peer"), notes=notes)
    finally:
        server.close()


def main() -> None:
    """One reader."""
    name, port, database, rows = sys.argv[1:]
    if name == "peer" and importlib.util.find_spec("connectorx"):
        importlib.import_module("connectorx")  # counts no more than what ours imports
    began = time.monotonic()
    found = READERS[name](int(port), database)
    assert found in {0, int(rows)}, found  # noqa: S101  a reader that misses rows is no reader
    print(json.dumps({"rate": int(rows) / (time.monotonic() - began)}))


CLAIM = Claim(
    name="view_mariadb",
    about="a view of 1 M rows x 12 into Arrow columns",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.4, rss_mb=512)),),
    open=prepare,
)

if __name__ == "__main__":
    main()
