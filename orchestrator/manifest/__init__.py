"""The list of campaigns: CSV, JSON, JSON Lines."""
