"""Synchronised camera recordings of animals: read, checked, calibrated, triangulated and packed for training."""
