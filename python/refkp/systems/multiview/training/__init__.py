"""The Lightning module, the training command behind it, and loading what a run left."""
