"""Backbones, weights, augmentation, and the models built of them."""
