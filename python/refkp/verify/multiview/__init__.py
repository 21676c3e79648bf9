"""Golden adapters of the multi-view system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.multiview import cameras, data, geometry, metrics, pipeline

__all__ = ["cameras", "data", "geometry", "metrics", "pipeline"]
