"""In-memory twins of the ports, shipped for tests of whatever stands on them.

A twin keeps the promises of its port except those about the disk. `MemoryJournal` passes the conformance suite of the
SQLite journal;
`ScriptedSource` and `ScriptedSink` play windows, parcels and faults; `FakeClock` moves only when told to.
"""

from bridge.testing.clock import FakeClock
from bridge.testing.journal import MemoryJournal
from bridge.testing.sink import ScriptedSink
from bridge.testing.source import ScriptedSource

__all__ = ["FakeClock", "MemoryJournal", "ScriptedSink", "ScriptedSource"]
