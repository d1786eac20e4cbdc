"""What a run tells: rows, summary, sentences, files."""
