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
-- leases that are watched; a renewal changes no column of it
CREATE INDEX chunk_held ON orchestrator.chunk (run, lo)
    WHERE done_at IS NULL AND lo > 0 AND holder IS NOT NULL;

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

-- The rate of a server, of which slices are given: policy/slices.py has the law and its reasons, and
-- a test compares the two. Instants are seconds since 1970 on this database's clock. After a crash,
-- and on a machine that takes over, an unlogged table is empty: then nothing is given for a window.
CREATE UNLOGGED TABLE orchestrator.pace (
    server text PRIMARY KEY,
    next_s float8 NOT NULL,
    rate_per_s float8 NOT NULL DEFAULT 0,
    rate_until_s float8 NOT NULL DEFAULT '-infinity',
    emergency_until_s float8 NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

-- at_s is for the test; without it the present is taken when the row is ours.
CREATE FUNCTION orchestrator.give_slice(
    of_server text, own_rate_per_s float8, is_emergency boolean, wanted bigint, at_s float8 DEFAULT NULL,
    OUT now_s float8, OUT starts_in_s float8, OUT interval_s float8, OUT given bigint,
    OUT again_s float8, OUT yields boolean
) LANGUAGE plpgsql AS $$
DECLARE
    late_and_guard_s CONSTANT float8 := 0.015 + 0.017;
    slice_s CONSTANT float8 := 0.025;
    ahead_at_most_s CONSTANT float8 := 0.05;
    emergency_s CONSTANT float8 := 0.25;
    behind_emergency_s CONSTANT float8 := 0.01;
    kept orchestrator.pace%ROWTYPE;
    top_per_s float8 := own_rate_per_s;
    top_until_s float8;
    urgent_until_s float8;
    window_s float8;
    ahead_s float8;
    begins_s float8;
BEGIN
    LOOP
        SELECT * INTO kept FROM orchestrator.pace WHERE server = of_server FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO orchestrator.pace (server, next_s) VALUES (
            of_server,
            coalesce(at_s, extract(epoch FROM clock_timestamp())::float8)
            + greatest(1.0, 1.0 / own_rate_per_s) + late_and_guard_s
        ) ON CONFLICT DO NOTHING;
    END LOOP;
    now_s := coalesce(at_s, extract(epoch FROM clock_timestamp())::float8);
    top_until_s := now_s + greatest(1.0, 1.0 / top_per_s);
    IF kept.rate_per_s > top_per_s AND kept.rate_until_s > now_s THEN
        top_per_s := kept.rate_per_s;
        top_until_s := least(kept.rate_until_s, now_s + greatest(1.0, 1.0 / top_per_s));
    END IF;
    urgent_until_s := least(kept.emergency_until_s, now_s + emergency_s);
    IF is_emergency THEN
        urgent_until_s := now_s + emergency_s;
    END IF;
    yields := NOT is_emergency AND urgent_until_s > now_s;
    window_s := greatest(1.0, 1.0 / top_per_s) + late_and_guard_s;
    interval_s := window_s / greatest(1.0, floor(top_per_s));
    IF kept.next_s > now_s + ahead_at_most_s + slice_s + window_s THEN
        kept.next_s := now_s + window_s;
    END IF;
    ahead_s := kept.next_s - now_s - CASE WHEN yields THEN 0.0 ELSE ahead_at_most_s END;
    starts_in_s := 0.0;
    given := 0;
    again_s := 0.0;
    IF ahead_s > 0.0 THEN
        again_s := CASE WHEN yields THEN greatest(ahead_s, behind_emergency_s) ELSE ahead_s END;
    ELSE
        begins_s := greatest(kept.next_s, now_s);
        starts_in_s := begins_s - now_s;
        given := greatest(1, least(wanted, floor(slice_s / interval_s)::bigint));
        IF yields THEN
            given := 1;
        END IF;
        kept.next_s := begins_s + given * interval_s;
    END IF;
    UPDATE orchestrator.pace SET next_s = kept.next_s, rate_per_s = top_per_s,
        rate_until_s = top_until_s, emergency_until_s = urgent_until_s WHERE server = of_server;
END
$$;
