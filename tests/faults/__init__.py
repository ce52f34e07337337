"""Runs on toys that are killed, lose power or meet damaged files, and must come to the same end; see `__main__`."""
