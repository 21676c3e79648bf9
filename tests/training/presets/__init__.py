"""The presets of the small system."""
