-- Delivery: how far each subscriber is, what could not be delivered, small states of ours, messages taken in once.

-- NULL: nothing waits. Else a JSON array of [first, last]: taken by the subscriber and not settled yet.
ALTER TABLE subscriber ADD COLUMN pending TEXT;

CREATE TABLE undelivered (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sink TEXT NOT NULL,
  stream TEXT NOT NULL,
  number INTEGER NOT NULL,        -- sequence number of the event
  epoch INTEGER NOT NULL,
  contract TEXT NOT NULL,
  event_id TEXT NOT NULL,
  key TEXT,
  cause TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  state TEXT NOT NULL,
  journalled_at INTEGER NOT NULL,
  first_failed_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  settled_at INTEGER,
  reason TEXT,
  schema INTEGER NOT NULL,
  size INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  data BLOB NOT NULL              -- the event, as a block of one row
) STRICT;
CREATE INDEX undelivered_open ON undelivered (sink) WHERE state = 'open';
CREATE INDEX undelivered_settled ON undelivered (settled_at) WHERE state <> 'open';

-- Sinks switched off, breakers, keys, alarms, silences: a JSON object each.
CREATE TABLE kept (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  crc INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- Ids of messages that other systems sent us, so that none is taken twice.
CREATE TABLE received (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX received_until ON received (until);

-- The chain: SHA-256 over the hash before and the entry. NULL: written before there was one, sealed at the next start.
ALTER TABLE audit ADD COLUMN hash BLOB;
