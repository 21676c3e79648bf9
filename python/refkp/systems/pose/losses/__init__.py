"""The losses of the pose system: pure functions that return their terms by name."""
