"""Backbones, weights, augmentation, and the models made of them."""
