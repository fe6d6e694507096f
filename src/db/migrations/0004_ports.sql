-- Ports of sandboxes that have a preview URL. A row of a sandbox that is gone tells that its URL
-- was valid once; such rows are bounded by age and count.
CREATE TABLE exposed_ports (
  iid           TEXT NOT NULL,
  port          INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
  id            TEXT NOT NULL,
  name          TEXT NOT NULL,
  token         TEXT NOT NULL,
  -- New whenever the port is exposed: what was signed for an earlier one is worth nothing.
  generation    TEXT NOT NULL,
  -- 1: the token alone is not enough.
  signed        INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL,
  -- 0: never
  expires_at_ms INTEGER NOT NULL,
  PRIMARY KEY (iid, port)
) STRICT;
