"""A finished model taken up again: loaded from a run, a folder or a file, and given images."""
