"""The legacy application at work, in a process of its own, in open loop: it keeps its schedule whatever the readers do.

``python -m bench.writer DSN insert|update RATE COUNT FILE [SLOT]`` makes RATE one-row transactions a second, with ids
from 1 on, and at the end writes one line ``id returned`` for each to FILE: when its COMMIT had returned, on the
monotonic clock that all processes of a machine share. With SLOT it begins when somebody reads that slot.
"""

import sys
import threading
import time
from pathlib import Path

import psycopg

CONNECTIONS = 4
READER_TIMEOUT_S = 60.0
ACTIVE = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"
STATEMENTS = {
    "insert": """INSERT INTO sales.orders VALUES (%s, 'C0000001', 'OP', 12.50, 'USD', '2026-01-31', '2026-01-31 08:00',
                 3, 'leave at gate', true, 1.5, '2026-01-31 08:00+00')""",
    # Spread over the table, so that no range of it is hot.
    "update": """UPDATE sales.orders SET qty = 1 + (qty + 1) %% 500, updated_at = now()
                 WHERE id = 1 + %s::bigint * 7919 %% 1000000""",
}


def write(dsn: str, statement: str, schedule: list[tuple[int, float]], returned: list[tuple[int, float]]) -> None:
    """Run one connection's share of the schedule; (id, time due) in, (id, time returned) out."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=1) as connection:
        for number, due in schedule:
            time.sleep(max(0.0, due - time.monotonic()))
            connection.execute(statement.encode(), (number,))
            returned.append((number, time.monotonic()))


def wait_for_reader(dsn: str, slot: str) -> None:
    """Wait until somebody reads the slot. Raises: RuntimeError when nobody does in time."""
    deadline = time.monotonic() + READER_TIMEOUT_S
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(ACTIVE, (slot,)).fetchone() is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody reads slot {slot}")
            time.sleep(0.05)


def main(dsn: str, kind: str, rate: float, count: int, *, file: Path) -> None:
    """Run the schedule over several connections and write the times."""
    begin = time.monotonic() + 0.5
    schedule = [(1 + n, begin + n / rate) for n in range(count)]
    returned: list[tuple[int, float]] = []
    threads = [
        threading.Thread(target=write, args=(dsn, STATEMENTS[kind], schedule[n::CONNECTIONS], returned))
        for n in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.write_text("".join(f"{number} {at:.6f}\n" for number, at in returned))


if __name__ == "__main__":
    dsn, kind, rate, count, file, *slot = sys.argv[1:]
    for name in slot:
        wait_for_reader(dsn, name)
    main(dsn, kind, float(rate), int(count), file=Path(file))
