-- Extraction: images of what legacy systems hold, runs, and what they cost.

CREATE TABLE image (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  generation INTEGER NOT NULL,
  part TEXT NOT NULL,             -- shape, rows, gone, seen
  first INTEGER NOT NULL,         -- number of its first row
  row_count INTEGER NOT NULL,
  schema INTEGER NOT NULL,
  size INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  data BLOB NOT NULL              -- as in a block
) STRICT;
CREATE INDEX image_of_stream ON image (stream, generation, id);

CREATE TABLE run (
  source TEXT NOT NULL,
  number INTEGER NOT NULL,
  stream TEXT NOT NULL,
  kind TEXT NOT NULL,
  cause TEXT NOT NULL,
  state TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  detail TEXT NOT NULL,
  pages INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  counts TEXT NOT NULL,           -- JSON object: events by letter of their op
  seconds REAL NOT NULL,
  size INTEGER NOT NULL,          -- bytes that were read
  queries INTEGER NOT NULL,
  moments INTEGER NOT NULL,       -- of the schedule that it stands for
  rejected INTEGER NOT NULL,      -- of its rows
  PRIMARY KEY (source, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_of_stream ON run (stream, started_at);
CREATE INDEX run_ended ON run (ended_at) WHERE ended_at IS NOT NULL;

-- What each system was asked to do for us, by hour.
CREATE TABLE bill (
  system TEXT NOT NULL,
  stream TEXT NOT NULL,
  hour INTEGER NOT NULL,          -- since 1970 UTC
  queries INTEGER NOT NULL,
  seconds REAL NOT NULL,
  rows INTEGER NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (system, hour, stream)
) STRICT, WITHOUT ROWID;
