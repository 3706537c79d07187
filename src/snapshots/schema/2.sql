-- What a session held after a cell, so that it can be brought back. Nothing here is ever unpickled on the host.

-- The cell whose state the session is in; 0 where it is empty.
ALTER TABLE session ADD COLUMN at_cell INTEGER NOT NULL DEFAULT 0;
-- The session and the cell of which it began as a copy.
ALTER TABLE session ADD COLUMN forked_from TEXT;
ALTER TABLE session ADD COLUMN forked_cell INTEGER;

-- The cell whose state it began in, which tells the branches of a history; null in records of format 1.
ALTER TABLE cell ADD COLUMN base INTEGER;
-- JSON list: variables it made or changed; null where its state was not kept.
ALTER TABLE cell ADD COLUMN touched TEXT;

-- Files of chunks, each written by one session, only ever appended to.
CREATE TABLE pack (
  -- never used twice
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session TEXT NOT NULL,
  -- name of the file below packs/
  file TEXT NOT NULL UNIQUE,
  -- token of the server that adds to it; null, or of a dead one, where nobody does any more
  writer TEXT
) STRICT;

CREATE TABLE chunk (
  id INTEGER PRIMARY KEY,
  -- the session that may name it
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  -- the kernel's name for it, in hex
  name TEXT NOT NULL,
  -- of its bytes, taken by the host
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  -- its bytes are not what they were: never given out, and replaced when they come again
  damaged INTEGER NOT NULL DEFAULT 0,
  -- where its bytes lie, or
  pack INTEGER REFERENCES pack (id),
  start INTEGER,
  -- the bytes themselves
  data BLOB,
  UNIQUE (session, name),
  CHECK ((pack IS NULL) = (data IS NOT NULL) AND (pack IS NULL) = (start IS NULL))
) STRICT;

CREATE INDEX chunk_of_pack ON chunk (pack, start) WHERE pack IS NOT NULL;

-- Variables that were taken down together.
CREATE TABLE covariable (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  -- JSON: names, header and buffers as chunk names, mentions
  description TEXT NOT NULL,
  -- of the description
  sha256 BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  UNIQUE (session, digest)
) STRICT;

CREATE TABLE checkpoint (
  -- in the order they were made, never used twice
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  parent INTEGER REFERENCES checkpoint (id) ON DELETE SET NULL,
  -- the cell after which the session was so; 0 for the first state of a fork
  cell INTEGER NOT NULL,
  -- for people only: order is that of the ids, whatever the clock does
  at INTEGER NOT NULL,
  -- JSON list of digests
  members TEXT NOT NULL,
  -- JSON: variable → type, reason and cell of what could not be kept
  lost TEXT NOT NULL,
  tokens TEXT NOT NULL,
  -- JSON: versions of Python and packages
  versions TEXT NOT NULL,
  -- JSON: name below /data → the kept file
  data TEXT NOT NULL,
  -- of the texts above, in this order
  sha256 BLOB NOT NULL
) STRICT;

CREATE INDEX checkpoint_of_cell ON checkpoint (session, cell);
CREATE INDEX checkpoint_of_parent ON checkpoint (parent);

-- The state a session is in, or comes back to.
CREATE TABLE head (
  session TEXT PRIMARY KEY REFERENCES session (id) ON DELETE CASCADE,
  checkpoint INTEGER NOT NULL REFERENCES checkpoint (id)
) STRICT, WITHOUT ROWID;

-- States that were given up to free space, so that nobody calls them lost.
CREATE TABLE pruned (
  session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  cell INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (session, cell)
) STRICT, WITHOUT ROWID;
