"""Training on cached features held against training through the whole network with fresh augmentation."""
