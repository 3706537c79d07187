-- A cell that left the state as it was takes no row of its own among the checkpoints.

-- The checkpoint of an earlier cell that the state after this one equals; it may have been given up since.
ALTER TABLE cell ADD COLUMN state INTEGER;
