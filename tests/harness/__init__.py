"""Long-running checks behind `./do`: each a script with `main(argv) -> int`."""
