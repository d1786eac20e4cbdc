"""The version of this distribution, said once; pyproject.toml reads it from here."""

VERSION = "0.1.0"
