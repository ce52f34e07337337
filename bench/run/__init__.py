"""A run: its request, its folder, its record and its stages."""
