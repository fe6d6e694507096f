-- What a sandbox's creator wants of automatic snapshots, as JSON; empty: what is configured.
ALTER TABLE sandboxes ADD COLUMN snapshot_policy TEXT NOT NULL DEFAULT '';
-- 1 while the writable layer holds what a stop should have saved and could not: tried again.
ALTER TABLE sandboxes ADD COLUMN unsaved INTEGER NOT NULL DEFAULT 0;
-- 1 while its layer is empty and waits for what the newest snapshots hold: begun again after a crash.
ALTER TABLE sandboxes ADD COLUMN recover INTEGER NOT NULL DEFAULT 0;

-- Ids whose sandbox was deleted on purpose: one that is made again begins empty, whatever older
-- snapshots there are.
CREATE TABLE deleted_sandboxes (
  id            TEXT PRIMARY KEY,
  deleted_at_ms INTEGER NOT NULL
) STRICT;
