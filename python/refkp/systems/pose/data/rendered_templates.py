"""Templates of a data set that has none: rendered from its models when first asked for, and kept beside these."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.templates.cached import cached_views
from refkp.systems.pose.templates.rendering import template_poses
from refkp.systems.pose.views import Views


class RenderedTemplates:
    """The views of all models of a set; those of the object asked for last stay in memory.

    Args:
        models: the meshes.
        level: 0, 1 or 2 for 42, 162 or 642 views.
        workers: threads that render.
    """

    def __init__(self, models: ModelSet, *, level: int = 1, workers: int = 1) -> None:
        self.models, self.level, self.workers = models, level, workers
        self._last: tuple[tuple[int, int], Views] | None = None

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """The objects, in ascending order."""
        return self.models.obj_ids

    def poses(self, obj_id: int) -> Tensor:
        """float64 [n,4,4], object to camera, millimetres, in the order of the views."""
        return template_poses(self.models.mesh(obj_id), self.level)

    def views(self, obj_id: int, index: Sequence[int] | Tensor, size: int) -> Views:
        """Views `index` [k] of an object as square crops, `size` pixels wide."""
        if self._last is None or self._last[0] != (obj_id, size):
            folder = self.models.mesh_path(obj_id).parent
            options = {"level": self.level, "workers": self.workers, "progress": True}
            views = cached_views(self.models.mesh(obj_id), size, folder, **options)
            self._last = (obj_id, size), views
        return self._last[1].select(torch.as_tensor(index))
