"""Golden adapters of the pose system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.pose import ground_truth, inference, losses, metrics, model, pictures, pnp

__all__ = ["ground_truth", "inference", "losses", "metrics", "model", "pictures", "pnp"]
