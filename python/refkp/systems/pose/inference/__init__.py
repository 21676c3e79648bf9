"""Poses of objects from a model's predictions: matches, 3D points, PnP, hypotheses, templates in a cache."""
