"""Golden adapters of the panorama system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.panorama import captions, geometry, losses, metrics, model, views

__all__ = ["captions", "geometry", "losses", "metrics", "model", "views"]
