"""Losses of patches, of the flow inside them, and of the pose they lead to."""
