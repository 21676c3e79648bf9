"""The presets of `refkp train pose`."""
