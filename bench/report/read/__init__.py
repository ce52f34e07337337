"""The files of a run folder, read for the report."""
