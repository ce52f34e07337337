"""The least time in which the same work could be done."""
