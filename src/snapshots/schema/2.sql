-- What a session held after a cell, so that it can be brought back. Nothing here is ever unpickled on the host.

-- Files of chunks, each written by one session, only ever appended to.
CREATE TABLE pack (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  -- name of the file below packs/
  file TEXT NOT NULL UNIQUE,
  -- nothing is added any more: a fork reads it too
  sealed INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE chunk (
  id INTEGER PRIMARY KEY,
  -- the session that may name it
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  -- the kernel's name for it, in hex
  name TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  -- where its bytes lie, or
  pack INTEGER REFERENCES pack (id),
  start INTEGER,
  -- the bytes themselves
  data BLOB,
  UNIQUE (session, name),
  CHECK ((pack IS NULL) = (data IS NOT NULL) AND (pack IS NULL) = (start IS NULL))
) STRICT;

-- Variables that were taken down together.
CREATE TABLE covariable (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  -- JSON: names, header and buffers as chunk names, mentions
  description TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  UNIQUE (session, digest)
) STRICT;

CREATE TABLE checkpoint (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  parent INTEGER REFERENCES checkpoint (id) ON DELETE SET NULL,
  -- the cell after which the session was so; 0 for an empty one
  cell INTEGER NOT NULL,
  at INTEGER NOT NULL,
  -- JSON list of digests
  members TEXT NOT NULL,
  -- JSON: variable → type, reason and cell of what could not be kept
  lost TEXT NOT NULL,
  tokens TEXT NOT NULL,
  -- JSON: versions of Python and packages
  versions TEXT NOT NULL,
  -- JSON: name below /data → the kept file
  data TEXT NOT NULL
) STRICT;

CREATE INDEX checkpoint_of_cell ON checkpoint (session, cell);

-- The state a session is in, or comes back to.
CREATE TABLE head (
  session TEXT PRIMARY KEY REFERENCES session (id) ON DELETE CASCADE,
  checkpoint INTEGER NOT NULL REFERENCES checkpoint (id)
) STRICT, WITHOUT ROWID;
