"""The searches that the suite is compared with."""
