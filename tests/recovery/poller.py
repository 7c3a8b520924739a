"""One life of a bridge over a polled table that lies in a file: ask for a run, and end when nothing is left to do.

Arguments: the journal, the file with mode and rows, the kinds of run. Where BRIDGE_FAILPOINT says so, it dies before.
"""

import json
import sys
from pathlib import Path

from bridge.extraction import ending
from bridge.journal.sqlite import SqliteJournal
from bridge.testing import FakeClock
from bridge.testing.extractor import ScriptedExtractor
from tests import polled
from tests.polled import Process, row

ending.MANY_ROWS, ending.MANY_BLOCKS, ending.STEP_ROWS = 4, 8, 4

journal_file, table_file, *kinds = sys.argv[1:]
told = json.loads(Path(table_file).read_text())
table = polled.table(told["mode"])
for number, amount, at in told["rows"]:
    table.put(**row(number, amount, at=at))
clock = FakeClock()
journal = SqliteJournal.open(Path(journal_file), owner=True)
process = Process(journal, ScriptedExtractor("erp", table, now=clock), clock=clock)
process.settle()
for kind in kinds:
    process.run(kind=kind)  # type: ignore[arg-type]  # the test names them
journal.close()
