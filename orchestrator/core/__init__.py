"""Decides: values and arithmetic. No I/O, no clock, no loop, no chance, no log."""
