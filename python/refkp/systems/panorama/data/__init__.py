"""Panoramas and their texts: files, datasets, the Lightning DataModule."""
