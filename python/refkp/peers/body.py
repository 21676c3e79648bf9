"""Bodies, projections and decoders as they are usually composed in torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refkp._checks import fail
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose
from refkp.systems.multiview.model.decoder import DecoderLayer
from refkp.systems.multiview.model.network import Cameras


def skinned(body: Body, pose: BodyPose) -> tuple[Tensor, Tensor]:
    """Vertices [B,N,3] and regressed joints [B,J,3] by a chain of 4 x 4 matrices and a matrix for every vertex.

    Of a body with a regressor, without pose blend shapes; scales propagate.
    """
    count = len(pose.rotations)
    if body.regressor is None:
        fail("skinned", "body", "one with a regressor", "one whose joints are static")
    shaped = body.vertices.expand(count, -1, -1)
    if pose.betas is not None:
        shaped = shaped + torch.einsum("vck,bk->bvc", body.shapedirs, pose.betas)
    rest = body.regressor @ shaped
    chain: list[Tensor] = []
    for joint, parent in enumerate(body.parents):
        offset = rest[:, joint] - (0 if parent < 0 else rest[:, parent])
        local = torch.cat((pose.rotations[:, joint], offset[..., None]), -1)
        local = torch.cat((local, local.new_tensor([[0.0, 0, 0, 1]]).expand(count, 1, 4)), 1)
        chain.append(local if parent < 0 else chain[parent] @ local)
    maps = torch.stack(chain, 1)
    at_rest = torch.cat((rest, torch.zeros_like(rest[..., :1])), -1)
    maps = maps - F.pad(maps @ at_rest[..., None], (3, 0))
    of_vertices = (body.weights.expand(count, -1, -1) @ maps.flatten(2)).unflatten(2, (4, 4))
    homogeneous = torch.cat((shaped, torch.ones_like(shaped[..., :1])), -1)
    vertices = (of_vertices @ homogeneous[..., None])[..., :3, 0]
    joints = body.regressor @ vertices
    about = joints[:, :1] - pose.trans[:, None]
    return vertices - about, joints - about


def keypoint_loss(
    joints: Tensor, cameras: Cameras, target: Tensor, visibility: Tensor, image_size: int
) -> Tensor:
    """The squared distance of joints [B,J,3] from labels [B,V,J,2] in shares of the picture, view by view."""
    losses, weights = [], []
    for view in range(target.shape[1]):
        K, R, t = (part[:, view] for part in cameras)
        seen = joints @ R.mT + t[:, None]
        pixels = seen @ K.mT
        uv = pixels[..., :2] / pixels[..., 2:] / image_size
        wanted = target[:, view] / image_size
        counts = visibility[:, view] * ((wanted >= 0) & (wanted <= 1)).all(-1)
        losses.append((counts * (uv - wanted).square().sum(-1)).sum())
        weights.append(counts.sum())
    return torch.stack(losses).sum() / torch.stack(weights).sum()


class ProjectedLayer(nn.Module):
    """A decoder layer that makes keys and values of every token; parameters of `DecoderLayer`, by its names."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Query [B,C] and tokens [B,N,D] as they are."""
        layer, attention = self.layer, self.layer.cross_attn
        tokens = layer.norm_context(context)
        heads = (attention.heads, attention.dim_head)
        key, value = attention.to_kv(tokens).unflatten(-1, (2, *heads)).unbind(2)
        asked = attention.to_q(layer.norm1(query)).unflatten(-1, heads)[:, None]
        seen = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (asked, key, value)))
        query = query + attention.to_out(seen.transpose(1, 2).flatten(1))
        return query + layer.ff(layer.norm2(query))
