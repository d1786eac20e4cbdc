-- Version 2 of the cluster's tables.

-- What of a VDN is still open is asked for by each claim, and for each part that waits.

CREATE INDEX chunk_open_of_vdn ON orchestrator.chunk (run, vdn) WHERE done_at IS NULL;

-- What restores have done with the campaigns of a run, as marks.jsonl has it beside a journal
-- (marks.py): one that is about to be started is on record here before its start is sent.
CREATE TABLE orchestrator.marks (
    run_id text NOT NULL,
    vdn_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    state text NOT NULL,
    -- the restore
    by_run text NOT NULL,
    PRIMARY KEY (run_id, vdn_id, campaign_id)
);

-- Why a run ended before it was through; no part of it is claimed from then on, until `continue`.
ALTER TABLE orchestrator.run ADD COLUMN ended text, ADD COLUMN why text,
    ADD COLUMN ended_at timestamptz;
