"""Golden adapters of the multi-view system: each renames, reshapes and calls the public API, nothing more."""

from refkp.verify.multiview import body, cameras, data, geometry, losses, metrics, model, pipeline

__all__ = ["body", "cameras", "data", "geometry", "losses", "metrics", "model", "pipeline"]
