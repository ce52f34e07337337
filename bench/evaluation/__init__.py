"""How good the finalists are, and how sure one can be."""
