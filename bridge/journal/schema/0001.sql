-- The journal's first schema. Times are microseconds since 1970 UTC; `crc` is the CRC-32 of a row's other columns.

-- What is held of each stream: the catalogue. `last` is never lowered, so a number is never given twice.
CREATE TABLE stream (
  name TEXT PRIMARY KEY,
  first INTEGER NOT NULL,         -- first sequence number still kept
  last INTEGER NOT NULL,          -- last sequence number ever given
  blocks INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  last_commit_at INTEGER,         -- at the source
  last_journalled_at INTEGER NOT NULL,
  merged INTEGER NOT NULL,        -- upkeep has nothing left to merge up to here
  crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Arrow schemas, each stored once.
CREATE TABLE arrow_schema (
  id INTEGER PRIMARY KEY,
  crc INTEGER NOT NULL,
  message BLOB NOT NULL UNIQUE    -- the IPC schema message
) STRICT;

CREATE TABLE block (
  id INTEGER PRIMARY KEY,
  stream TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  contract TEXT NOT NULL,
  schema INTEGER NOT NULL,
  journalled_at INTEGER NOT NULL,
  min_commit_at INTEGER,
  max_commit_at INTEGER,
  size INTEGER NOT NULL,          -- of the IPC message before compression
  crc INTEGER NOT NULL,
  data BLOB NOT NULL,             -- the IPC record batch message, zstd; last, so that the others are read without it
  UNIQUE (stream, first)
) STRICT;

CREATE TABLE source (
  name TEXT PRIMARY KEY,
  epoch INTEGER,
  at TEXT,                        -- JSON array
  state TEXT NOT NULL,            -- JSON object
  crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_state (
  stream TEXT PRIMARY KEY,
  phase TEXT NOT NULL,
  since INTEGER NOT NULL,
  why TEXT NOT NULL,
  shape BLOB,
  crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The rejected rows of one append, raw.
CREATE TABLE letter_block (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  size INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE TABLE letter (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  block INTEGER NOT NULL,
  row INTEGER NOT NULL,           -- in the block
  epoch INTEGER NOT NULL,
  contract TEXT NOT NULL,
  key TEXT,
  event_id TEXT NOT NULL,
  breaches TEXT NOT NULL,         -- JSON array of [rule, field, detail]
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  settled_at INTEGER,
  reason TEXT,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX letter_open ON letter (stream) WHERE state = 'open';
CREATE INDEX letter_settled ON letter (settled_at) WHERE state <> 'open';
CREATE INDEX letter_of_block ON letter (block);

CREATE TABLE parked (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  row_count INTEGER NOT NULL,
  size INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE INDEX parked_of_stream ON parked (stream, row_count);

-- Rows judged per stream and minute, for levels of validity.
CREATE TABLE judged (
  stream TEXT NOT NULL,
  minute INTEGER NOT NULL,        -- since 1970 UTC
  valid INTEGER NOT NULL,
  rejected INTEGER NOT NULL,
  PRIMARY KEY (stream, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriber (
  name TEXT NOT NULL,
  stream TEXT NOT NULL,
  cursor INTEGER NOT NULL,        -- last sequence number acknowledged
  crc INTEGER NOT NULL,
  PRIMARY KEY (name, stream)
) STRICT, WITHOUT ROWID;

-- Events that retention took before a subscriber had read them.
CREATE TABLE subscriber_gap (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  subscriber TEXT NOT NULL,
  stream TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  declared_at INTEGER NOT NULL
) STRICT;

CREATE TABLE contract_pin (
  contract TEXT NOT NULL,
  version TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (contract, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  args TEXT NOT NULL,
  actor TEXT NOT NULL,
  made_at INTEGER NOT NULL,
  settled_at INTEGER,
  ok INTEGER,
  result TEXT
) STRICT;
CREATE INDEX request_open ON request (id) WHERE settled_at IS NULL;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
