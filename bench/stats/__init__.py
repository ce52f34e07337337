"""Statistics: scores, intervals, and how many images they need."""
