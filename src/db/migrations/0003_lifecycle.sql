-- SQLite cannot change a CHECK: the table is made anew.
CREATE TABLE sandboxes_new (
  iid             TEXT PRIMARY KEY,
  id              TEXT NOT NULL UNIQUE,
  state           TEXT NOT NULL CHECK (state IN ('creating', 'running', 'paused', 'stopping', 'stopped',
                                                 'restoring', 'failed', 'deleting')),
  image           TEXT NOT NULL,
  -- Which 65,536 user and group ids it owns.
  id_index        INTEGER NOT NULL UNIQUE CHECK (id_index >= 0),
  memory_bytes    INTEGER NOT NULL,
  cpus            REAL NOT NULL,
  pids            INTEGER NOT NULL,
  -- Of its writable layer; 0: no limit.
  disk_bytes      INTEGER NOT NULL DEFAULT 0,
  -- Files of its writable layer; 0: no limit.
  inodes          INTEGER NOT NULL DEFAULT 0,
  -- Its part of CPU and I/O when several want all; 100 is everybody's.
  weight          INTEGER NOT NULL DEFAULT 100,
  -- [["NAME", "value"], ...], for every program inside.
  env             TEXT NOT NULL,
  created_at_ms   INTEGER NOT NULL,
  -- When its state was last written.
  changed_at_ms   INTEGER NOT NULL DEFAULT 0,
  failure         TEXT NOT NULL DEFAULT '',
  -- What its creator wants of automatic snapshots, as JSON; empty: what is configured.
  snapshot_policy TEXT NOT NULL DEFAULT '',
  -- What its creator wants of sleep, as JSON; empty: what is configured.
  sleep_policy    TEXT NOT NULL DEFAULT '',
  -- 1 while the writable layer holds what a stop should have saved and could not: tried again.
  unsaved         INTEGER NOT NULL DEFAULT 0,
  -- 1 while its layer is empty and waits for what the newest snapshots hold: begun again after a crash.
  recover         INTEGER NOT NULL DEFAULT 0,
  -- A member of the warm pool, whose id is "~<iid>", was made for this; empty: it is somebody's.
  pool_key        TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO sandboxes_new (iid, id, state, image, id_index, memory_bytes, cpus, pids, env, created_at_ms,
                           failure, snapshot_policy, unsaved, recover)
  SELECT iid, id, state, image, id_index, memory_bytes, cpus, pids, env, created_at_ms,
         failure, snapshot_policy, unsaved, recover FROM sandboxes;
DROP TABLE sandboxes;
ALTER TABLE sandboxes_new RENAME TO sandboxes;

-- What happened to sandboxes and why, oldest first; bounded by age and count.
CREATE TABLE events (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms  INTEGER NOT NULL,
  iid    TEXT NOT NULL,
  id     TEXT NOT NULL,
  -- A word of the event log: "state", "oom", "fork", ...
  kind   TEXT NOT NULL,
  -- The state it is in afterwards; empty when that did not change.
  state  TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX events_of ON events (id, seq);
