"""The page of an external test, from the files of its folder alone."""
