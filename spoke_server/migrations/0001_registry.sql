-- Modules, their immutable versions, and what was deleted for good.
-- Texts that are compared or ordered have collation C: the same order on every machine.

CREATE TABLE modules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_.-]{0,254}$'),
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    deleted_at  timestamptz,
    -- Another value after every change of the module or of one of its versions. Random: a value is never seen again,
    -- not even when a failover undoes changes or a module of this name is made anew.
    revision    uuid NOT NULL DEFAULT gen_random_uuid(),
    -- The module as JSON, ready to send.
    body        bytea NOT NULL
);

CREATE TABLE versions (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    module_id         bigint NOT NULL REFERENCES modules ON DELETE CASCADE,
    version           text COLLATE "C" NOT NULL CHECK (version ~ '^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$'),
    -- The greatest of a module is its latest version.
    sort_key          text COLLATE "C" NOT NULL,
    content_digest    char(64) NOT NULL,
    source_repository varchar(512) NOT NULL,
    source_commit_sha varchar(64) NOT NULL,
    source_branch     varchar(255) NOT NULL,
    created_at        timestamptz NOT NULL,
    deleted_at        timestamptz,
    -- The version as JSON: without its files, and whole with the SHA-256 of these bytes.
    summary           bytea NOT NULL,
    body              bytea NOT NULL,
    body_digest       text NOT NULL,
    UNIQUE (module_id, version)
);

CREATE INDEX versions_latest ON versions (module_id, sort_key DESC, created_at DESC, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX versions_newest ON versions (module_id, created_at DESC, id DESC);

CREATE TABLE proto_files (
    version_id   bigint NOT NULL REFERENCES versions ON DELETE CASCADE,
    file_path    varchar(512) COLLATE "C" NOT NULL,
    content_hash char(64) NOT NULL,
    object_key   varchar(512) NOT NULL,
    file_size    bigint NOT NULL CHECK (file_size >= 0),
    PRIMARY KEY (version_id, file_path)
);

CREATE TABLE version_dependencies (
    version_id         bigint NOT NULL REFERENCES versions ON DELETE CASCADE,
    dependency_module  text COLLATE "C" NOT NULL,
    dependency_version text COLLATE "C" NOT NULL,
    PRIMARY KEY (version_id, dependency_module, dependency_version)
);

CREATE INDEX version_dependencies_of ON version_dependencies (dependency_module, dependency_version);

-- Names of what was deleted for good. A version's number is never used again, so bytes that anybody still holds for
-- it can never be taken for another content.
CREATE TABLE retired_versions (
    module_name text COLLATE "C" NOT NULL,
    version     text COLLATE "C" NOT NULL,
    retired_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (module_name, version)
);

CREATE TABLE retired_modules (
    module_name text COLLATE "C" PRIMARY KEY,
    retired_at  timestamptz NOT NULL DEFAULT now()
);

-- A write says until when it may be applied (spoke.write_deadline, seconds since 1970). The check runs in the server
-- at COMMIT, so a client that was frozen between its last statement and its COMMIT cannot apply an old write after a
-- newer one. Every write touches its module's row, so a trigger there sees them all.
CREATE FUNCTION refuse_late_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deadline text := current_setting('spoke.write_deadline', true);
BEGIN
    IF deadline <> '' AND clock_timestamp() > to_timestamp(deadline::double precision) THEN
        RAISE EXCEPTION 'the write is older than the retry budget' USING ERRCODE = 'SP001';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER modules_refuse_late_write AFTER INSERT OR UPDATE OR DELETE ON modules
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_late_write();
