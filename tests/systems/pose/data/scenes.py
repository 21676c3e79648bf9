"""Small scenes with known content."""

from __future__ import annotations

import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.pose.data.records import mask_box
from refkp.systems.pose.scene import Instance, PictureKey, Scene

HEIGHT, WIDTH = 24, 32


def random_pose(generator: torch.Generator, z: float) -> torch.Tensor:
    """A random rotation, `z` mm in front of the camera."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = axis_angle_to_matrix(torch.randn(3, generator=generator, dtype=torch.float64))
    pose[:3, 3] = (
        torch.tensor([12.3, -45.6, z], dtype=torch.float64) + torch.rand(3, generator=generator).double()
    )
    return pose


def make_scene(
    index: int = 0, *, boxes: tuple[tuple[int, int, int, int], ...] = ((3, 4, 12, 20), (15, 2, 30, 9))
) -> Scene:
    """Noise with one instance for each box (x0, y0, x1, y1), all of object 7, at 500, 600 ... mm."""
    generator = torch.Generator().manual_seed(index)
    depth = torch.zeros(HEIGHT, WIDTH)
    instances = []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        mask[y0:y1, x0:x1] = True
        mask &= torch.rand(HEIGHT, WIDTH, generator=generator) < 0.8
        pose = random_pose(generator, 500.0 + 100 * number)
        depth[mask] = float(pose[2, 3]) + 20 * torch.rand(int(mask.sum()), generator=generator)
        instances.append(Instance(7, pose, mask, mask_box(mask), 0.8 - 0.3 * number, (x0 - 5, y0, x1, y1)))
    rgb = torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    K = torch.tensor([[30.1, 0, 16.2], [0, 31.3, 12.4], [0, 0, 1]], dtype=torch.float64)
    return Scene(PictureKey(index, 0), rgb, depth, K, tuple(instances))


def assert_same_scene(got: Scene, want: Scene, *, depth_step: float = 0.1) -> None:
    """Everything to the bit, but for depth, which is stored in steps."""
    assert got.key == want.key
    torch.testing.assert_close(got.rgb, want.rgb, rtol=0, atol=0)
    torch.testing.assert_close(got.K, want.K, rtol=0, atol=0)
    assert got.depth is not None
    assert want.depth is not None
    torch.testing.assert_close(got.depth, want.depth, rtol=0, atol=0.51 * depth_step)
    assert len(got.instances) == len(want.instances)
    for a, b in zip(got.instances, want.instances, strict=True):
        assert (a.obj_id, a.box, a.full_box, a.visible_fraction) == (
            b.obj_id,
            b.box,
            b.full_box,
            b.visible_fraction,
        )
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(a.cam_from_obj, b.cam_from_obj)
