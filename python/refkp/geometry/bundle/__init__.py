"""Bundle adjustment: cameras and points together, from what the cameras saw of any moving thing."""

from __future__ import annotations

from refkp.geometry.bundle.adjustment import Bundle, adjust
from refkp.geometry.bundle.problem import BundleSpec

__all__ = ["Bundle", "BundleSpec", "adjust"]
