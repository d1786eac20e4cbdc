"""What people read of a run: rows, summary, sentences, files."""
