"""The best trial of each backbone, retrained and held against baselines."""
