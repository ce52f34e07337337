"""Training over cached features of frozen layers."""
