"""From a file's bytes to stored pixels."""
