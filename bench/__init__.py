"""Benchmarks: side by side in one run, printed as ratios, because machines are shared and noisy."""
