"""Golden adapters of the multi-view system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.multiview import cameras, geometry

__all__ = ["cameras", "geometry"]
