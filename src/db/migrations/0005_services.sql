-- Background processes that begin again whenever their sandbox is started.
CREATE TABLE services (
  iid           TEXT NOT NULL,
  -- The id of the process.
  process       TEXT NOT NULL,
  -- What runs and how, as JSON.
  program       TEXT NOT NULL,
  -- 1: as long as it runs its sandbox neither sleeps nor stops by itself.
  keep_awake    INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL,
  PRIMARY KEY (iid, process)
) STRICT;
