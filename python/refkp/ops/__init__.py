"""The kernels: six ops, each with the backends `reference`, `native` and `triton`."""

from refkp.ops.affine_warp import affine_warp
from refkp.ops.camera_warp import camera_warp
from refkp.ops.e2p import e2p
from refkp.ops.equivariance_loss import equivariance_loss
from refkp.ops.flow_gt import FlowGT, flow_gt, gather_pairs, patch_labels, to_dense
from refkp.ops.vicreg import VICRegTerms, vicreg

#: The names of the ops; each is also the stem of its files in every layer.
OPS = ("affine_warp", "equivariance_loss", "e2p", "vicreg", "flow_gt", "camera_warp")

__all__ = [
    "OPS",
    "FlowGT",
    "VICRegTerms",
    "affine_warp",
    "camera_warp",
    "e2p",
    "equivariance_loss",
    "flow_gt",
    "gather_pairs",
    "patch_labels",
    "to_dense",
    "vicreg",
]
