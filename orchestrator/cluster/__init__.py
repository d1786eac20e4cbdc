"""Many machines, one run: who works on which part of it, and how workers are woken."""
