"""The tests. Layout mirrors orchestrator/; checks/ and harness/ are run by ./do."""
