"""How templates were rendered and sets of pictures judged before: the baseline of the rows on speed of use.

Only the order of the work is that of before. What it calls (the renderer, the network) is today's, which flatters it.
"""

from __future__ import annotations

import torch

from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.systems.pose.crops import crop_views, mask_box
from refkp.systems.pose.data.dataset import PoseDataset
from refkp.systems.pose.inference.bank import build_bank
from refkp.systems.pose.inference.estimator import PoseEstimate, PoseEstimator
from refkp.systems.pose.inference.spec import EstimatorSpec, ModeSpec, RansacSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.templates.rendering import template_poses
from refkp.systems.pose.templates.store import LINEMOD_K
from refkp.systems.pose.views import Views

#: Eight templates at a time, and RANSAC judged by every match.
ESTIMATOR = EstimatorSpec(modes=ModeSpec(chunk=8), ransac=RansacSpec(max_points=1_000_000))


def rendered_views(mesh: Mesh, size: int, level: int) -> Views:
    """Every view as a whole picture, cropped afterwards; one after the other."""
    renderer, K = MeshRenderer([mesh]), torch.tensor(LINEMOD_K, dtype=torch.float64)
    crops = []
    for pose in template_poses(mesh, level):
        picture = renderer.render(pose[None].numpy(), K.numpy(), (480, 640), samples=2)
        rgb, depth = torch.from_numpy(picture.rgb).permute(2, 0, 1), torch.from_numpy(picture.depth)
        crops.append(crop_views(rgb, depth > 0, depth, K, pose, mask_box(depth > 0), size))
    return Views(*(torch.stack(parts) for parts in zip(*crops, strict=True)))


def num_estimated(model: Vpog, dataset: PoseDataset) -> int:
    """Estimate the pose of one sample after the other, all of one object; how many there are."""
    templates = dataset.templates
    obj_id = int(dataset.table.obj_id[0])
    bank = build_bank(model, templates.views(obj_id, torch.arange(len(templates.store.poses(obj_id)))))
    found = [PoseEstimator(model, bank, ESTIMATOR).estimate(dataset[n].query) for n in range(len(dataset))]
    return sum(isinstance(item, PoseEstimate) for item in found)
