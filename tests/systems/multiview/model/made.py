"""Small networks, and views for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refkp.nn.encoders import EncoderSpec
from refkp.systems.multiview.body.species import species_body
from refkp.systems.multiview.model.network import Cameras, MultiviewModel
from refkp.systems.multiview.model.spec import BodyHeadSpec, CameraHeadSpec, FusionSpec, MultiviewSpec

SIZE = 32


def small_spec(**changed: Any) -> MultiviewSpec:
    """Of a ViT of 16 tokens and one layer of everything."""
    parts: dict[str, Any] = {
        "encoder": EncoderSpec("tiny", SIZE, -1),
        "fusion": FusionSpec(heads=4, layers=1, dropout=0.0),
        "body": BodyHeadSpec(dim=32, depth=1, heads=2, iterations=2),
        "camera": CameraHeadSpec(hidden=(16,), dropout=0.0),
        "max_cameras": 4,
    }
    return MultiviewSpec(**parts | changed)


def small_model(seed: int = 0, **changed: Any) -> MultiviewModel:
    """In evaluation mode, its last layers large enough for their outputs to matter."""
    torch.manual_seed(seed)
    model = MultiviewModel(small_spec(**changed), species_body("quadruped"))
    for network in (model.body_head.correction, *(head[-1] for head in model.camera_head.networks)):
        torch.nn.init.normal_(network.weight, std=0.05)
        torch.nn.init.normal_(network.bias, std=0.05)
    prior = model.prior
    prior.R.copy_(torch.linalg.qr(torch.randn(4, 3, 3)).Q)
    prior.R.mul_(torch.linalg.det(prior.R)[:, None, None])
    prior.depth.copy_(torch.tensor([2.0, 3.0, 2.5, 4.0]))
    return model.eval()


def views(count: int = 2, slots: int = 3, seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures uint8 [B,V,3,S,S], all views there, of cameras 0, 1, 3."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, slots, 3, SIZE, SIZE), dtype=torch.uint8, generator=draw)
    return (
        images,
        torch.ones(count, slots, dtype=torch.bool),
        torch.tensor([0, 1, 3])[:slots].repeat(count, 1),
    )


def given_cameras(count: int = 2, slots: int = 3) -> Cameras:
    """Cameras in the frame of the first slot."""
    torch.manual_seed(9)
    R = torch.linalg.qr(torch.randn(count, slots, 3, 3)).Q
    R = R * torch.linalg.det(R)[..., None, None]
    R[:, 0] = torch.eye(3)
    t = torch.randn(count, slots, 3)
    t[:, 0] = 0
    K = torch.tensor([[40.0, 0, 16], [0, 41, 15], [0, 0, 1]]).expand(count, slots, 3, 3)
    return Cameras(K, R, t)
