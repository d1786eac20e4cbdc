"""The console: the red button for people without a shell."""
