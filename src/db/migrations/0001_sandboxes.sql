-- One row for every sandbox that exists or is half-made. `state` is what was intended last: it is
-- written before the sandbox is touched, so that a new daemon can finish or undo it.
CREATE TABLE sandboxes (
  iid           TEXT PRIMARY KEY,
  id            TEXT NOT NULL UNIQUE,
  state         TEXT NOT NULL CHECK (state IN ('creating', 'running', 'stopped', 'failed', 'deleting')),
  image         TEXT NOT NULL,
  -- Which 65,536 user and group ids it owns.
  id_index      INTEGER NOT NULL UNIQUE CHECK (id_index >= 0),
  memory_bytes  INTEGER NOT NULL,
  cpus          REAL NOT NULL,
  pids          INTEGER NOT NULL,
  -- [["NAME", "value"], ...], for every program inside.
  env           TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  failure       TEXT NOT NULL DEFAULT ''
) STRICT;
