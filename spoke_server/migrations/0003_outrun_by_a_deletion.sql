-- When the load balancer received the write that removed the module for good: a creation that was held up meanwhile must not
-- bring it back.
ALTER TABLE retired_modules ADD COLUMN retired_by_write_of double precision NOT NULL DEFAULT 0;
