"""Touches: one outside thing per file; no edge imports another."""
