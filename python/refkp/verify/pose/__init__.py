"""Golden adapters of the pose system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.pose import ground_truth, metrics, pictures

__all__ = ["ground_truth", "metrics", "pictures"]
