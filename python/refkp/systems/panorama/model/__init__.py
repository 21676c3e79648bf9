"""The networks of all stages."""
