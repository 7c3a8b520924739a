"""A business day on the demo ERP: orders, customers, stock, payables and bookings at a chosen rate.

`python -m demo.business --dsn DSN --rate N --seconds S --oracle FILE [--seed K]` begins N transactions a second, open
loop: a slow server makes it late, never slower. It ends by itself, or on SIGTERM after the running transaction, and
prints one JSON line that says what it did. About 3 % of the transactions are rolled back, some undo a savepoint,
every `LARGE_EVERY`th changes thousands of rows, and about 1 % write what no sane contract takes.
"""

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from demo.oracle import OracleWriter, Row
from demo.session import ErpSession

ROLLED_BACK = 0.03
LARGE_EVERY = 1_000  # transactions
LARGE_ROWS = 3_000
ZONE = ZoneInfo("America/Chicago")

Learn = Callable[[], object]  # brings the books up to date, once the transaction has committed


@dataclass(slots=True)
class Books:
    """What the ERP's users know: which keys there are to work on."""

    customers: list[str]
    items: list[str]
    orders: list[str]  # still open
    next_order: int
    next_payable: int
    next_booking: int
    next_customer: int = 0
    pending: list[int] = field(default_factory=list)  # bookings whose second transaction is due

    @classmethod
    def open(cls, rows: dict[str, list[Row]]) -> "Books":
        """Read them off the tables."""
        orders = rows["sales.oeordh"]
        customers = [str(row["cust_no"]).strip() for row in rows["sales.arcust"]]
        return cls(
            customers=customers,
            items=[str(row["item_no"]).strip() for row in rows["sales.icitem"]],
            orders=[str(row["ord_no"]).strip() for row in orders if row["sts"] in {"O", "C"}],
            next_order=1 + max((int(str(row["ord_no"])[2:]) for row in orders), default=0),
            next_payable=1 + max((int(row["trx_no"]) for row in rows["sales.aptrx"]), default=0),
            next_booking=1 + max((int(row["trx_id"]) for row in rows["sales.gltrx"]), default=0),
            next_customer=1 + max((int(number[1:]) for number in customers), default=0),
            pending=[int(row["trx_id"]) for row in rows["sales.gltrx"] if row["ref"] == "*PENDING*"],
        )


@dataclass(slots=True)
class Summary:
    """What a day came to."""

    begun: int = 0
    committed: int = 0
    rolled_back: int = 0
    broken_off: int = 0  # the connection was lost before COMMIT
    seconds: float = 0.0
    late_s: float = 0.0  # the longest that a transaction began after its time


class BusinessDay:
    """Plays transactions drawn from a seeded random sequence."""

    def __init__(self, session: ErpSession, books: Books, seed: int) -> None:
        self._session = session
        self._books = books
        self._random = random.Random(seed)
        self._actions: dict[Callable[[], Learn | None], float] = {
            self.take_order: 30,
            self.change_order: 22,
            self.ship_order: 10,
            self.cancel_order: 4,
            self.delete_order: 4,
            self.change_customer: 6,
            self.renumber_customer: 1,
            self.move_stock: 12,
            self.enter_payable: 6,
            self.begin_booking: 4,
            self.write_nonsense: 1,
        }

    def play(self, number: int, oracle: OracleWriter) -> bool:
        """One transaction; False when it was rolled back."""
        undo = self._random.random() < ROLLED_BACK
        if number % LARGE_EVERY == LARGE_EVERY // 2:
            action = self._random.choice([self.reprice_items, self.close_month])
        elif self._books.pending and self._random.random() < 0.5:
            action = self.finish_booking
        else:
            (action,) = self._random.choices(list(self._actions), list(self._actions.values()))
        user = self._random.randrange(60)
        with self._session.transaction(oracle, undo=undo):
            self._session.touch_session(f"tok_live_{user:04}", f"U{user:07}")
            learn = action()
        if learn is not None and not undo:
            learn()
        return not undo

    def reopen(self) -> None:
        """Read the books anew, after a lost connection."""
        self._books = Books.open(self._session.rows())

    # -- orders

    def take_order(self) -> Learn:
        """A new order with its lines; now and then one line is begun, thought better of, and undone."""
        number = f"SO{self._books.next_order:08}"
        self._session.insert("sales.oeordh", self._order(number))
        for line in range(1, self._random.randint(2, 5)):
            with self._session.savepoint(undo=self._random.random() < 0.05):
                self._session.insert("sales.oeordd", self._line(number, line))

        def learn() -> None:
            self._books.next_order += 1
            self._books.orders.append(number)

        return learn

    def change_order(self) -> Learn | None:
        """New amount and status; the note stays as it is, most times."""
        changes: dict[str, Any] = {"sts": "C", "amt": self._cents(), "upd_ts": _now()}
        if self._random.random() < 0.1:
            changes["note"] = self._note()
        return self._on_order(changes, closes=False)

    def ship_order(self) -> Learn | None:
        """Goods leave; the order closes."""
        return self._on_order({"sts": "S", "ship_dt": _today(), "upd_ts": _now()}, closes=True)

    def cancel_order(self) -> Learn | None:
        """The customer changed their mind."""
        return self._on_order({"sts": "X", "upd_ts": _now()}, closes=True)

    def delete_order(self) -> Learn | None:
        """An order taken by mistake goes, with its lines."""
        if not self._books.orders:
            return None
        number = self._random.choice(self._books.orders)
        self._session.delete("sales.oeordd", {"ord_no": number})
        self._session.delete("sales.oeordh", {"ord_no": number})
        return lambda: self._books.orders.remove(number)

    def _on_order(self, changes: dict[str, Any], *, closes: bool) -> Learn | None:
        if not self._books.orders:
            return None
        number = self._random.choice(self._books.orders)
        self._session.update("sales.oeordh", {"ord_no": number}, changes)
        return (lambda: self._books.orders.remove(number)) if closes else None

    # -- customers and stock

    def change_customer(self) -> None:
        """A new address or another credit limit."""
        change = {"addr": f"{self._random.randrange(9000)} Depot Rd"} if self._random.random() < 0.5 else self._credit()
        self._session.update("sales.arcust", {"cust_no": self._random.choice(self._books.customers)}, change)

    def renumber_customer(self) -> Learn:
        """A key change: the customer gets a new number."""
        at = self._random.randrange(len(self._books.customers))
        new = f"R{self._books.next_customer:07}"
        self._session.update("sales.arcust", {"cust_no": self._books.customers[at]}, {"cust_no": new})

        def learn() -> None:
            self._books.next_customer += 1
            self._books.customers[at] = new

        return learn

    def move_stock(self) -> None:
        """Goods come in or are counted."""
        on_hand = f"{self._random.randrange(999_999)}.{self._random.randrange(1000):03}"
        self._session.update("sales.icitem", {"item_no": self._random.choice(self._books.items)}, {"on_hand": on_hand})

    def reprice_items(self) -> None:
        """Every price goes up in one large transaction."""
        statement = "UPDATE sales.icitem AS r SET price = price + %(cents)s"
        self._session.run("update", "sales.icitem", statement, {"cents": self._random.randint(1, 99)})

    # -- money

    def enter_payable(self) -> Learn:
        """A vendor's invoice, in the table without a key."""
        number = self._books.next_payable
        row = {"trx_no": number, "vend_no": f"V{self._random.randrange(90):07}", "trx_dt": _today()}
        self._session.insert("sales.aptrx", {**row, "amt": self._cents(), "ref": f"INV {number}"})

        def learn() -> None:
            self._books.next_payable += 1

        return learn

    def begin_booking(self) -> Learn:
        """The first of two transactions: a placeholder reference."""
        number = self._books.next_booking
        row = {"trx_id": number, "acct": f"{self._random.randrange(4000, 4030):09}", "amt": self._cents()}
        self._session.insert("sales.gltrx", {**row, "ref": "*PENDING*", "post_dt": _today()})

        def learn() -> None:
            self._books.next_booking += 1
            self._books.pending.append(number)

        return learn

    def finish_booking(self) -> Learn:
        """The second transaction: the reference is filled in."""
        number = self._books.pending[0]
        self._session.update("sales.gltrx", {"trx_id": number}, {"ref": f"JE {number}"})
        return lambda: self._books.pending.remove(number)

    def close_month(self) -> Learn:
        """Thousands of bookings in one large transaction."""
        first = self._books.next_booking
        statement = (
            "INSERT INTO sales.gltrx AS r SELECT n, '000004999', n %% 100000, 'CLOSE ' || n, %(day)s "
            "FROM generate_series(%(first)s::bigint, %(last)s::bigint) n"
        )
        last = first + LARGE_ROWS - 1
        self._session.run("create", "sales.gltrx", statement, {"day": _today(), "first": first, "last": last})

        def learn() -> None:
            self._books.next_booking = last + 1

        return learn

    # -- what no contract takes

    def write_nonsense(self) -> Learn | None:
        """A row that breaks any sane contract."""
        nonsense = self._random.randrange(4)
        if nonsense == 0:
            return self._on_order({"ord_dt": 1_261_399, "upd_ts": _now()}, closes=False)  # month 13, day 99
        if nonsense == 1:
            return self._on_order({"sts": "Q", "upd_ts": _now()}, closes=False)
        change = {"cr_lim": -1} if nonsense == 2 else {"cust_nm": None}
        self._session.update("sales.arcust", {"cust_no": self._random.choice(self._books.customers)}, change)
        return None

    def _order(self, number: str) -> dict[str, Any]:
        return {
            "ord_no": number,
            "cust_no": self._random.choice(self._books.customers),
            "ord_dt": _today(),
            "sts": "O",
            "amt": self._cents(),
            "cur": "USD",
            "ship_dt": 0,
            "ext_ref": f"WEB-{self._random.randrange(10**9)}",
            "note": self._note() if self._random.random() < 0.4 else None,
            "upd_ts": _now(),
        }

    def _line(self, number: str, line: int) -> dict[str, Any]:
        quantity = f"{self._random.randrange(1, 500)}.{self._random.randrange(1000):03}"
        item = self._random.choice(self._books.items)
        return {"ord_no": number, "line_no": line, "item_no": item, "qty": quantity, "price": self._cents()}

    def _credit(self) -> dict[str, Any]:
        return {"cr_lim": self._random.randrange(200) * 25_000, "sts": self._random.choice("AAAH")}

    def _cents(self) -> int:
        return self._random.randrange(1, 5_000_000)

    def _note(self) -> str:
        """Long and hard to compress, so that the server keeps it out of the row (TOAST)."""
        return self._random.randbytes(self._random.randint(1500, 3000)).hex()


def _today() -> int:
    return int(f"1{datetime.now(ZONE):%y%m%d}")


def _now() -> datetime:
    return datetime.now(ZONE).replace(tzinfo=None)


def play(dsn: str, oracle_file: Path, *, rate: float, seconds: float, seed: int, stop: Callable[[], bool]) -> Summary:
    """Play a day.

    Args:
        dsn: the ERP's database, as a user who may write.
        oracle_file: the new oracle file.
        rate: transactions a second.
        seconds: how long; fewer transactions are begun when the server cannot keep up.
        seed: of the random sequence.
        stop: asked before every transaction; True ends the day early.
    """
    summary = Summary()
    with ErpSession(dsn) as session, OracleWriter(oracle_file, rows := session.rows()) as oracle:
        day = BusinessDay(session, Books.open(rows), seed)
        begin = time.monotonic()
        for number in range(round(rate * seconds)):
            late_s = time.monotonic() - begin - number / rate
            if late_s < 0:
                oracle.rest(-late_s)
                time.sleep(-late_s)
            summary.late_s = max(summary.late_s, late_s)
            if stop() or time.monotonic() - begin > seconds:
                break
            summary.begun += 1
            try:
                is_committed = day.play(number, oracle)
            except psycopg.OperationalError:
                summary.broken_off += 1
                day.reopen()
            else:
                summary.committed += is_committed
                summary.rolled_back += not is_committed
        summary.seconds = time.monotonic() - begin
    return summary


def main() -> int:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(prog="demo.business", description="Play a business day on the demo ERP.")
    arguments.add_argument("--dsn", required=True, help="the ERP's database, as a user who may write")
    arguments.add_argument("--rate", type=float, default=100, help="transactions a second (default 100)")
    arguments.add_argument("--seconds", type=float, default=30, help="how long (default 30)")
    arguments.add_argument("--oracle", type=Path, required=True, help="the new file to write what was committed")
    arguments.add_argument("--seed", type=int, default=1, help="of the random sequence (default 1)")
    given = arguments.parse_args()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    summary = play(
        given.dsn, given.oracle, rate=given.rate, seconds=given.seconds, seed=given.seed, stop=lambda: bool(stopped)
    )
    print(json.dumps(asdict(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
