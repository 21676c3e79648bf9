"""What is asked of an estimator: an object in a crop, its templates, and how to go about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from refkp._checks import fail, require_finite
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.spec import EstimatorSpec
from refkp.systems.pose.views import Views


@dataclass(frozen=True, eq=False)
class Task:
    """One object in one crop.

    Args:
        query: a view without leading axes; its depth and pose are not read.
        bank: the templates of the object.
        grid: the patches of the crops.
        spec: how the pose is estimated.
        templates: [k] int64, the templates to use in cluster mode; None: chosen by score.

    Raises:
        ValueError: a query that is not one view, or whose K or picture is not finite; templates that the bank
            has not, or any in global mode.
    """

    query: Views
    bank: TemplateBank
    grid: PatchGrid
    spec: EstimatorSpec = field(default_factory=EstimatorSpec)
    templates: Tensor | None = None

    def __post_init__(self) -> None:
        if self.query.masks.dim() != 2:
            got = f"masks {list(self.query.masks.shape)}"
            fail("Task", "query", "one view without leading axes", got)
        require_finite("Task", "query.K", self.query.K)
        require_finite("Task", "query.images", self.query.images)
        if self.templates is not None:
            self._check_templates(self.templates)

    def _check_templates(self, templates: Tensor) -> None:
        if self.spec.modes.mode != "cluster":
            fail("Task", "templates", "None in global mode, which asks all", list(templates.shape))
        count = self.bank.num_templates
        if len(templates) == 0 or int(templates.min()) < 0 or int(templates.max()) >= count:
            fail("Task", "templates", f"indices in 0..{count - 1}", templates.tolist())

    @cached_property
    def on_object(self) -> Tensor:
        """bool [N], the query patches whose centre is on the mask."""
        return self.grid.centre_pixels(self.query.masks.cpu())

    @property
    def asks_all(self) -> bool:
        """Whether the templates are yet to be found by a pass over all of them."""
        return self.templates is None and self.spec.modes.asks_all
