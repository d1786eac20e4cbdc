-- Version 1 of the cluster's tables. A change is a file of its own, in MIGRATIONS of database.py;
-- this one stays as it is.
--
-- The tables of a run are those of a journal (tables.py), each row with its run, and with the
-- checksum that a journal's row has. They name no foreign keys: every row that is written would
-- lock its run's.

CREATE TABLE orchestrator.run (
    run bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL UNIQUE,
    -- its chunks go first
    emergency boolean NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A part of a run that one worker has at a time: the campaigns of one VDN from line lo to line hi.
-- lo = 0 is the run as a whole. Who writes names its epoch; a claim raises it.
CREATE TABLE orchestrator.chunk (
    run bigint NOT NULL,
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    vdn bigint,
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    lease_until timestamptz,
    done_at timestamptz,
    PRIMARY KEY (run, lo)
) WITH (fillfactor = 70);

CREATE INDEX chunk_open ON orchestrator.chunk (run, lo) WHERE done_at IS NULL AND lo > 0;

-- What belongs to a chunk, or with lo = 0 to the run as a whole.

CREATE TABLE orchestrator.meta (
    run bigint NOT NULL,
    lo bigint NOT NULL,
    key text NOT NULL,
    value text,
    crc bigint NOT NULL,
    PRIMARY KEY (run, lo, key)
);

CREATE TABLE orchestrator.sweeps (
    run bigint NOT NULL,
    lo bigint NOT NULL,
    number bigint NOT NULL,
    vdn_id bigint,
    started_at_ms bigint,
    ended_at_ms bigint,
    pages bigint,
    rows bigint,
    total_size bigint,
    started bigint,
    complete bigint,
    problem text,
    crc bigint NOT NULL,
    PRIMARY KEY (run, lo, number)
);

CREATE TABLE orchestrator.lives (
    run bigint NOT NULL,
    lo bigint NOT NULL,
    life bigint NOT NULL,
    started_at_ms bigint,
    ended_at_ms bigint,
    ended text,
    pid bigint,
    host text,
    departures bigint,
    worst_1s bigint,
    busy_ms bigint,
    crc bigint NOT NULL,
    PRIMARY KEY (run, lo, life)
);

-- What belongs to a line of the list.

CREATE TABLE orchestrator.plan (
    run bigint NOT NULL,
    seq bigint NOT NULL,
    line bigint,
    vdn_id bigint,
    campaign_id bigint,
    vdn_text text,
    campaign_text text,
    problem text,
    crc bigint NOT NULL,
    PRIMARY KEY (run, seq)
);

-- a chunk's campaigns, wherever in the list they stand
CREATE INDEX plan_by_vdn ON orchestrator.plan (run, vdn_id, seq) WHERE problem = '';

CREATE TABLE orchestrator.duplicates (
    run bigint NOT NULL,
    seq bigint NOT NULL,
    first_line bigint,
    crc bigint NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE orchestrator.looks (
    run bigint NOT NULL,
    seq bigint NOT NULL,
    status bigint,
    name text,
    begin_time text,
    seen_at_ms bigint,
    crc bigint NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE orchestrator.attempts (
    run bigint NOT NULL,
    seq bigint NOT NULL,
    number bigint NOT NULL,
    life bigint,
    before bigint,
    intent_at_ms bigint,
    state text,
    sent_at_ms bigint,
    answered_at_ms bigint,
    kind text,
    in_doubt bigint,
    code text,
    descr text,
    http_status bigint,
    reason text,
    crc bigint NOT NULL,
    PRIMARY KEY (run, seq, number)
);

CREATE TABLE orchestrator.outcomes (
    run bigint NOT NULL,
    seq bigint NOT NULL,
    life bigint,
    outcome text,
    evidence text,
    changed text,
    standing text,
    state_after bigint,
    seen_at_ms bigint,
    settled_at_ms bigint,
    may_start text,
    error text,
    crc bigint NOT NULL,
    PRIMARY KEY (run, seq)
);
