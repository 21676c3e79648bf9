"""The whole model: encoder, joint attention, classification and flow."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import require_shape, require_trailing
from refkp.nn.pixels import PixelStatistics, normalise
from refkp.nn.rope2d import grid_positions
from refkp.systems.pose.model.alternating import AlternatingAttention
from refkp.systems.pose.model.checkpoint import load_croco
from refkp.systems.pose.model.classifier import ClassificationHead
from refkp.systems.pose.model.croco import CrocoEncoder
from refkp.systems.pose.model.flow import FlowHead, PairPrediction
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.model.position import sphere_split, template_code
from refkp.systems.pose.model.spec import VpogSpec
from refkp.systems.pose.model.tokens import Tokens
from refkp.systems.pose.views import PoseBatch


class VpogOutput(NamedTuple):
    """What one pass over a batch gives."""

    tokens: Tokens
    logits: Tensor  # [B,S,N,N+1], column N is "not seen in this template"


class Vpog(nn.Module):
    """Which template patch each query patch sees, and the flow inside the patch.

    Nothing is kept between calls. The stages are methods of their own, so that inference can keep the encoded
    templates of an object.

    Args:
        spec: sizes and choices; `spec.encoder.checkpoint` is read here.

    Raises:
        ValueError: a window that does not fill the grid, a sphere split that does not fill a head, a checkpoint
            that does not fit.
    """

    def __init__(self, spec: VpogSpec) -> None:
        super().__init__()
        self.spec = spec
        dim, heads = spec.encoder.dim, spec.encoder.heads
        if spec.attention.position.startswith("s2rope"):
            sphere_split(spec.attention, dim // heads)  # an error now, not in the first batch
        self.encoder = CrocoEncoder(spec.encoder)
        self.unseen = nn.Parameter(torch.empty(dim))
        nn.init.trunc_normal_(self.unseen, std=0.02)
        self.attention = AlternatingAttention(spec.attention, dim, heads, spec.encoder.grid)
        self.classifier = ClassificationHead(spec.classifier, dim)
        self.flow_head = FlowHead(spec.flow, dim, spec.encoder.patch_size)
        if spec.encoder.checkpoint is not None:
            load_croco(self.encoder, spec.encoder.checkpoint)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per crop, rows and columns."""
        return self.spec.encoder.grid

    def forward(self, batch: PoseBatch) -> VpogOutput:
        """Tokens and logits of a batch, for training; `flow` then takes the pairs that match.

        Args:
            batch: the pictures in [0,1], and the poses and the reference direction of the templates.
        """
        encoded = self.encode(torch.cat((batch.query.images[:, None], batch.templates.images), 1))
        poses, reference = batch.templates.cam_from_obj, batch.ref_direction
        tokens = self.attend(encoded[:, 0], encoded[:, 1:], poses, reference)
        return VpogOutput(tokens, self.classify(tokens))

    def encode(self, images: Tensor) -> Tensor:
        """Tokens [...,N,C] of images [...,3,H,W] in [0,1]; each view alone, so they can be kept.

        Raises:
            ValueError: images of another size than `spec.encoder.image_size`.
        """
        size = self.spec.encoder.image_size
        require_trailing("Vpog.encode", "images", images, f"3,{size},{size}")
        statistics = PixelStatistics.named(self.spec.encoder.normalisation)
        flat = normalise(images, statistics).reshape(-1, 3, size, size)
        return self.encoder(flat).unflatten(0, images.shape[:-3])

    def attend(self, query: Tensor, templates: Tensor, cam_from_obj: Tensor, ref_direction: Tensor) -> Tokens:
        """Let a query and its templates read each other.

        Args:
            query: [B,N,C] encoded.
            templates: [B,S,N,C] encoded; half precision is taken up to the model's.
            cam_from_obj: [B,S,4,4] object to camera.
            ref_direction: [B,3] unit, from the object to the camera of the anchor template.

        Returns:
            Query [B,N,C] and templates [B,S,N+1,C]; the last token of a template stands for "not seen".
        """
        count = self.grid[0] * self.grid[1]
        require_shape("Vpog.attend", "query", query, "B,N,C", N=count, C=len(self.unseen))
        sizes = {"B": len(query), "N": count, "C": len(self.unseen)}
        require_shape("Vpog.attend", "templates", templates, "B,S,N,C", **sizes)
        sizes["S"] = templates.shape[1]
        require_shape("Vpog.attend", "cam_from_obj", cam_from_obj, "B,S,4,4", **sizes)
        require_shape("Vpog.attend", "ref_direction", ref_direction, "B,3", **sizes)
        query, templates = query.to(self.unseen.dtype), templates.to(self.unseen.dtype)
        unseen = self.unseen.expand(*templates.shape[:2], 1, -1)
        spec, head_dim = self.spec.attention, self.attention.head_dim
        code = template_code(spec, head_dim, self.grid, cam_from_obj, ref_direction)
        tokens = Tokens(query, torch.cat((templates, unseen), 2))
        return self.attention(tokens, grid_positions(self.grid, query.device), code)

    def classify(self, tokens: Tokens) -> Tensor:
        """Logits [B,S,N,N+1] of every query patch over the patches of every template, and "not seen"."""
        return self.classifier(tokens)

    def flow(self, tokens: Tokens, pairs: PatchPairs) -> PairPrediction:
        """Flow [M,p,p,2] in patches and its Laplace scale [M,p,p] for pairs of patches."""
        return self.flow_head(tokens, pairs)
