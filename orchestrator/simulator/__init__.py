"""A CC-iSales stand-in with seeded faults, for demos, tests and drills."""
