"""A posed body from the labels of all views over time, without a network: what one has before any model is trained."""
