"""Checks of the project itself that need no network: `python -m tests.checks`, run by ./do lint."""
