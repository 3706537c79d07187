-- One project's record. Times are milliseconds since the epoch, durations milliseconds, sizes bytes.

-- Servers that have this record open; a row is believed only while its token's lock is held.
CREATE TABLE server (
  token TEXT PRIMARY KEY,
  started_at INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  next_cell INTEGER NOT NULL DEFAULT 1,
  -- token of the server that holds it
  holder TEXT,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  -- its last kernel ran at least one cell
  had_state INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Which session a server was given for the name it asked for, so that it gets the same one again.
CREATE TABLE claim (
  holder TEXT NOT NULL,
  asked TEXT NOT NULL,
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  PRIMARY KEY (holder, asked)
) STRICT, WITHOUT ROWID;

CREATE TABLE cell (
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  cell INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('exec', 'load')),
  code TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('running', 'ok', 'error', 'interrupted', 'lost')),
  started_at INTEGER NOT NULL,
  duration REAL,
  -- what it raised, or why it was lost
  error TEXT,
  PRIMARY KEY (session, cell)
) STRICT;

-- Apart from its cell, so that ending a cell does not rewrite a megabyte.
CREATE TABLE output (
  session TEXT NOT NULL,
  cell INTEGER NOT NULL,
  text TEXT NOT NULL,
  -- bytes left out of the middle
  dropped INTEGER NOT NULL,
  PRIMARY KEY (session, cell),
  FOREIGN KEY (session, cell) REFERENCES cell (session, cell) ON DELETE CASCADE
) STRICT;

CREATE TABLE image (
  -- in the order the cell showed them
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  cell INTEGER NOT NULL,
  mime TEXT NOT NULL,
  data BLOB NOT NULL,
  -- characters of the output before it
  at INTEGER NOT NULL,
  FOREIGN KEY (session, cell) REFERENCES cell (session, cell) ON DELETE CASCADE
) STRICT;

CREATE INDEX image_of_cell ON image (session, cell);
