"""Golden adapters of the panorama system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.panorama import geometry, losses, model, views

__all__ = ["geometry", "losses", "model", "views"]
