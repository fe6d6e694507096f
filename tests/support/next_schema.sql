-- What a version to come may change: a daemon of today refuses a database with it.
ALTER TABLE sandboxes ADD COLUMN of_a_newer_version TEXT NOT NULL DEFAULT 'new';
