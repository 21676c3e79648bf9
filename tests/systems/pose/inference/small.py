"""A model of random weights that runs in milliseconds, and views to feed it."""

from __future__ import annotations

import torch

from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.systems.pose.model.spec import AttentionSpec, ClassifierSpec, EncoderSpec, FlowSpec, VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views


def small_model(position: str = "so3", registers: int = 0) -> Vpog:
    """4 x 4 patches of 8 pixels, in evaluation mode; as many registers in each view and tokens of the object."""
    torch.manual_seed(0)
    spec = VpogSpec(
        EncoderSpec(dim=48, depth=1, heads=2, patch_size=8, image_size=32),
        AttentionSpec(
            depth=1,
            window=2,
            drop_path=0.0,
            position=position,  # type: ignore[arg-type]
            query_registers=registers,
            template_registers=registers,
            object_tokens=registers,
        ),
        ClassifierSpec(hidden_dim=24, out_dim=16),
        FlowSpec(hidden=(16,)),
    )
    return Vpog(spec).eval()


def random_views(model: Vpog, count: int) -> Views:
    """Noise on a wavy surface, seen from the first `count` of the 42 views."""
    generator = torch.Generator().manual_seed(1)
    size = model.spec.encoder.image_size
    images = torch.rand(count, 3, size, size, generator=generator)
    depth = 400 + 20 * torch.rand(count, size, size, generator=generator)
    K = torch.tensor([[60.0, 0.0, size / 2], [0.0, 60.0, size / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    poses = cam_from_obj(400 * icosphere_views(0)[:count])
    masks = torch.ones(count, size, size, dtype=torch.bool)
    return Views(images, masks, depth, K.expand(count, 3, 3).clone(), poses)
