"""Files of a run folder -> one HTML page; the rest of the suite is not needed to make it."""
