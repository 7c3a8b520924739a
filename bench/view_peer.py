"""What one would read a table of PostgreSQL with instead of a view: connectorx and ADBC (parsed only), dlt to Parquet.

``python -m bench.view_peer connectorx|adbc|dlt|dlt-connectorx DSN ROWS`` prints ``{"rate": rows per second}``. What is
imported counts for the peers no more than for the bridge, which runs already.
"""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

SCHEMA, TABLE = "sales", "orders"
ALL = f"SELECT * FROM {SCHEMA}.{TABLE}"  # noqa: S608  names of ours


def _url(dsn: str) -> str:
    given = conninfo_to_dict(dsn)
    return f"postgresql://{given['user']}@{given['host']}:{given['port']}/{given['dbname']}"


Read = Callable[[str], int]


def _connectorx() -> Read:
    import connectorx  # noqa: PLC0415  an extra

    return lambda dsn: int(connectorx.read_sql(_url(dsn), ALL, return_type="arrow").num_rows)


def _adbc() -> Read:
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415  as above

    def read(dsn: str) -> int:
        with dbapi.connect(_url(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(ALL)
            return sum(batch.num_rows for batch in cursor.fetch_record_batch())

    return read


def _dlt(backend: str) -> Read:
    for needed in ("dlt.sources.sql_database", "connectorx", "sqlalchemy.dialects.postgresql", "psycopg", "pyarrow"):
        importlib.import_module(needed)
    return partial(_pipeline, backend=backend)


def _pipeline(dsn: str, backend: str) -> int:
    import dlt  # noqa: PLC0415  as above
    from dlt.sources.sql_database import sql_table  # noqa: PLC0415  as above

    folder = Path(tempfile.mkdtemp(prefix="legacy-bridge-bench-"))
    resource = sql_table(
        _url(dsn).replace("postgresql://", "postgresql+psycopg://"),
        table=TABLE, schema=SCHEMA, backend=backend, chunk_size=50_000,
        backend_kwargs={"conn": _url(dsn)} if backend == "connectorx" else None,
    )  # fmt: skip
    to = dlt.destinations.filesystem(str(folder / "lake"))
    pipeline = dlt.pipeline("orders", destination=to, dataset_name="erp", pipelines_dir=str(folder / "work"))
    pipeline.run(resource, loader_file_format="parquet")
    return int(pipeline.last_trace.last_normalize_info.row_counts[TABLE])


WAYS: Mapping[str, Callable[[], Read]] = {
    "connectorx": _connectorx,
    "adbc": _adbc,
    "dlt": partial(_dlt, "sqlalchemy"),
    "dlt-connectorx": partial(_dlt, "connectorx"),
}

if __name__ == "__main__":
    way, dsn, rows = sys.argv[1:]
    read = WAYS[way]()
    began = time.perf_counter()
    found = read(dsn)
    if found != int(rows):
        raise RuntimeError(f"{way} read {found} rows")
    print(json.dumps({"rate": found / (time.perf_counter() - began)}))
