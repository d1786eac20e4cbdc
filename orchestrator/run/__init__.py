"""Moves: the only floor that waits for decisions and edges together."""
