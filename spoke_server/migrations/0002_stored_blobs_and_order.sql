-- Which contents this registry has put in the object store, and when it last saw to it: a push that is sent again goes on
-- where the one before it was given up, through whichever instance. Only a hint: a row that is lost costs a PUT.
CREATE TABLE stored_blobs (
    content_hash char(64) PRIMARY KEY,
    stored_at    timestamptz NOT NULL
);

-- When the load balancer received the last write that changed this row in place (seconds since 1970, as it says itself),
-- so that a write which was held up is not applied over one that came after it.
ALTER TABLE modules ADD COLUMN changed_by_write_of double precision NOT NULL DEFAULT 0;
ALTER TABLE versions ADD COLUMN changed_by_write_of double precision NOT NULL DEFAULT 0;
