-- Version 3 of the cluster's tables: what ends a run before it is through, whoever works on it.

-- An instant on this database's clock, with the seconds that were given for it, and how many
-- campaigns may have failed by then.
ALTER TABLE orchestrator.run ADD COLUMN deadline_s float8, ADD COLUMN deadline_at timestamptz,
    ADD COLUMN failures_at bigint;

-- Counted again and again while a run with such a limit goes on; a test compares it with the rules.
CREATE INDEX outcomes_failed ON orchestrator.outcomes (run) WHERE standing = 'stands'
    AND outcome IN ('denied', 'failed', 'not_found', 'rejected', 'still_running', 'unattempted', 'unknown');
