"""Bugs that matter, sown on purpose to see whether the suite bites (./do teeth)."""
