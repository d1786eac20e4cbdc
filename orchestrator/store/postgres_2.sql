-- Version 2: what of a VDN is still open is asked for by each claim, and for each part that waits.

CREATE INDEX chunk_open_of_vdn ON orchestrator.chunk (run, vdn) WHERE done_at IS NULL;
