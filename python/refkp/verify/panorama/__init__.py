"""Golden adapters of the panorama system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.panorama import geometry, losses, metrics, views

__all__ = ["geometry", "losses", "metrics", "views"]
