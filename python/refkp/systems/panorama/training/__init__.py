"""Training in three stages."""
