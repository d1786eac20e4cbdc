"""Runs: how they begin, work, and end."""
