-- Version 4 of the cluster's tables: remarks that people add to its runs, for every machine
-- (notes.py has them beside a journal).
CREATE TABLE orchestrator.notes (
    run_id text NOT NULL,
    at text NOT NULL,
    operator text NOT NULL,
    text text NOT NULL
);
-- a text may be longer than an entry of an index
CREATE UNIQUE INDEX notes_once ON orchestrator.notes (run_id, at, md5(operator), md5(text));
