"""Settings: their table, and where each value comes from."""
