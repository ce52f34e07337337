"""The cached way held against training through the whole network."""
