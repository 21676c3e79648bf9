"""Golden adapters of the pose system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.pose import crops, ground_truth, inference, losses, metrics, model, pictures, pnp, templates

__all__ = ["crops", "ground_truth", "inference", "losses", "metrics", "model", "pictures", "pnp", "templates"]
