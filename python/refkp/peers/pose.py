"""The pose system as a user would write it: targets template by template, MSPD with OpenCV, depth with trimesh."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.ops.flow_gt import relative_pose
from refkp.ops.flow_gt.result import VISIBLE
from refkp.peers.flow_gt import flow_gt
from refkp.systems.pose.views import Views


def pose_targets_per_template(query: Views, templates: Views, patch_size: int) -> tuple[Tensor, ...]:
    """Labels, in-patch flow and visibility as a data loader makes them: one template after the other, in torch."""
    batch, count = templates.masks.shape[:2]
    pairs = [
        _pair_targets(query.select(slice(b, b + 1)), templates.select(b).select(slice(s, s + 1)), patch_size)
        for b in range(batch)
        for s in range(count)
    ]
    return tuple(torch.stack(parts).unflatten(0, (batch, count)) for parts in zip(*pairs, strict=True))


def _pair_targets(query: Views, template: Views, p: int) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = (side // p for side in query.size)
    uv, flags = _pair_flow(query, template)
    centre = slice(p // 2, None, p)
    at, bits = uv[centre, centre].flatten(0, 1), flags[centre, centre].flatten()
    patch = (at / p).floor().long()
    labels = torch.where(bits == VISIBLE, patch[:, 1] * columns + patch[:, 0], rows * columns)
    labels = torch.where(bits & 1 == 0, -1, labels)
    back_uv, back_flags = _pair_flow(template, query)
    matched = (labels >= 0) & (labels < rows * columns)
    index = torch.where(matched, labels, 0)
    number = torch.arange(rows * columns, device=labels.device)
    centres = (torch.stack((number % columns, number // columns), -1) + 0.5) * p
    flow = (_patches(back_uv, p)[index] - centres[:, None, None]) / p
    seen = (_patches(back_flags[..., None], p)[index, ..., 0] == VISIBLE) & (flow.norm(dim=-1) < 2)
    seen &= matched[:, None, None]
    seen &= seen.sum((1, 2), keepdim=True) >= 4
    in_front = (_patches(back_flags[..., None], p)[index] & 2) != 0
    return labels, torch.where(matched[:, None, None, None] & in_front, flow, 0), seen


def _pair_flow(source: Views, target: Views) -> tuple[Tensor, Tensor]:
    motion = relative_pose(target.cam_from_obj, source.cam_from_obj)
    uv, flags = flow_gt(source.depth, source.K, target.depth[:, None], target.K[:, None], motion[:, None])
    return uv[0, 0], flags[0, 0]


def _patches(image: Tensor, p: int) -> Tensor:
    """[H,W,c] -> [N,p,p,c]."""
    rows, columns = image.shape[0] // p, image.shape[1] // p
    return image.view(rows, p, columns, p, -1).transpose(1, 2).flatten(0, 1)


def mspd_opencv(estimate: Tensor, truth: Tensor, K: Tensor, points: Tensor, symmetries: Tensor) -> Tensor:
    """The projection distance with one call of OpenCV for each pose and symmetry."""
    import numpy as np

    with named_extras():
        import cv2

    def project(pose: np.ndarray) -> np.ndarray:
        turn, _ = cv2.Rodrigues(pose[:3, :3])
        uv, _ = cv2.projectPoints(points.numpy(), turn, pose[:3, 3], K.numpy(), None)
        return uv[:, 0]

    errors = []
    for e, g in zip(estimate.numpy(), truth.numpy(), strict=True):
        shown = project(e)
        far = [np.linalg.norm(shown - project(g @ s), axis=1).max() for s in symmetries.numpy()]
        errors.append(min(far))
    return torch.tensor(errors, dtype=torch.float64)


class DepthOfTrimesh:
    """Depth of a mesh in the camera's frame, as a user of trimesh's embree rays writes it."""

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        with named_extras():
            import trimesh

        self.mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)

    def render(self, K: Tensor, size: tuple[int, int]) -> Tensor:
        """[H,W] millimetres, 0 off the mesh."""
        import numpy as np

        height, width = size
        v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        rays = np.stack((u, v, np.ones_like(u)), -1).reshape(-1, 3) @ np.linalg.inv(K.numpy()).T
        places, index, _ = self.mesh.ray.intersects_location(np.zeros_like(rays), rays, multiple_hits=False)
        depth = np.zeros(height * width, np.float32)
        depth[index] = places[:, 2]
        return torch.from_numpy(depth.reshape(size))
