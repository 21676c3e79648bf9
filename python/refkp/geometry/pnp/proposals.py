"""The distributions that poses are drawn from: Student-t of translations, angular central Gaussian of rotations."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp.geometry.pnp.draws import Generators, draw
from refkp.geometry.pnp.levenberg_marquardt import PnPSolution
from refkp.geometry.pnp.pose import quaternion_tangent_map
from refkp.geometry.pnp.precision import full_precision, stable_cholesky
from refkp.geometry.pnp.problem import MonteCarloSpec

#: Degrees of freedom of the translations: tails heavy enough to cover what the fit misses.
DEGREES_OF_FREEDOM = 3


class Proposal(NamedTuple):
    """A distribution of poses for each of B objects."""

    centre: Tensor  # [B,3] of the translations
    translation_tril: Tensor  # [B,3,3], Cholesky factor of their scale
    rotation_tril: Tensor  # [B,4,4], Cholesky factor of Lambda: q ~ N(0, Lambda), normalised
    failed: Tensor  # bool [B]: no factorisation, the identity instead

    def sample(self, num_samples: int, generator: Generators = None) -> Tensor:
        """Poses [m,B,7], drawn independently."""

        def normal(size: int) -> Tensor:
            shape = (num_samples, len(self.centre), size, 1)
            return draw(torch.randn, shape, 1, self.centre, generator)

        chi_square = normal(DEGREES_OF_FREEDOM).square().sum(-2, keepdim=True)
        offset = self.translation_tril @ normal(3) * (DEGREES_OF_FREEDOM / chi_square).sqrt()
        direction = (self.rotation_tril @ normal(4)).squeeze(-1)
        return torch.cat((self.centre + offset.squeeze(-1), functional.normalize(direction, dim=-1)), dim=-1)

    def log_density(self, poses: Tensor) -> Tensor:
        """Log density [m,B] of poses [m,B,7].

        log p(t) is that of a normalised Student-t; log p(q) = -2 log(q^T Lambda^-1 q) - log det(Lambda)/2
        - log(2 pi^2), on the whole sphere of quaternions (q and -q count apart).
        """
        offset = poses[..., :3] - self.centre
        return _student_t(offset, self.translation_tril) + _angular(poses[..., 3:], self.rotation_tril)


@full_precision
def first_proposal(solution: PnPSolution, spec: MonteCarloSpec) -> Proposal:
    """The proposal around a solution: its covariance S, and for rotations Lambda = (T S_rr^-1 T^T + I)^-1
    over its trace.

    Source: spec pose 4.4 (AMIS, proposal 0).
    """
    identity = torch.eye(6, dtype=solution.pose.dtype, device=solution.pose.device)
    covariance = torch.where(solution.failed[:, None, None], identity, solution.covariance)
    translation_tril, bad_translation = stable_cholesky(covariance[:, :3, :3])
    turn_tril, bad_turn = stable_cholesky(covariance[:, 3:, 3:])
    tangent = quaternion_tangent_map(solution.pose[:, 3:])
    whitened = torch.linalg.solve_triangular(turn_tril, tangent.mT, upper=False)
    precision_tril, bad_precision = stable_cholesky(whitened.mT @ whitened + identity[:4, :4])
    spread = torch.cholesky_inverse(precision_tril)
    spread = spread / spread.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    rotation_tril, bad_rotation = _dispersed(spread, spec)
    failed = solution.failed | bad_translation | bad_turn | bad_precision | bad_rotation
    return Proposal(solution.pose[:, :3], translation_tril, rotation_tril, failed)


@full_precision
def fit_proposal(poses: Tensor, log_weights: Tensor, spec: MonteCarloSpec) -> Proposal:
    """The proposal that fits weighted poses: moments of t, and the angular Gaussian of largest likelihood.

    The fixed point is Lambda <- sum_k v_k q_k q_k^T + eps I with v_k proportional to w_k/(q_k^T Lambda^-1
    q_k), from Lambda = I, `spec.rotation_iterations` times.

    Args:
        poses: [m,B,7].
        log_weights: [m,B], up to a constant per object.
        spec: the constants of the fit.

    Source: spec pose 4.4 (AMIS, later proposals).
    """
    weights = log_weights.softmax(0)[..., None]  # [m,B,1]
    centre = (weights * poses[..., :3]).sum(0)
    offset = poses[..., :3] - centre
    translation_tril, bad_translation = stable_cholesky(_moment(weights, offset))
    quaternions = poses[..., 3:]
    identity = torch.eye(4, dtype=poses.dtype, device=poses.device)
    spread = identity.expand(poses.shape[1], 4, 4)
    failed = bad_translation
    for _ in range(spec.rotation_iterations):
        factor, bad = stable_cholesky(spread)
        shares = weights / _squared_length(quaternions, factor).clamp(min=spec.rotation_eps)[..., None]
        spread = _moment(shares / shares.sum(0), quaternions) + spec.rotation_eps * identity
        failed = failed | bad
    rotation_tril, bad_rotation = _dispersed(spread, spec)
    return Proposal(centre, translation_tril, rotation_tril, failed | bad_rotation)


def _moment(weights: Tensor, vectors: Tensor) -> Tensor:
    """Sum of w v v^T over the first axis, [B,d,d]."""
    return torch.einsum("mbi,mbj->bij", weights * vectors, vectors)


def _dispersed(spread: Tensor, spec: MonteCarloSpec) -> tuple[Tensor, Tensor]:
    """Factor of Lambda + c det(Lambda)^(1/4) I: the isotropic part reaches what the fit misses."""
    isotropic = spec.rotation_dispersion * torch.linalg.det(spread).clamp(min=0) ** 0.25
    return stable_cholesky(spread + torch.diag_embed(isotropic[:, None].expand(-1, 4)))


def _student_t(offset: Tensor, tril: Tensor) -> Tensor:
    freedom, size = DEGREES_OF_FREEDOM, offset.shape[-1]
    constant = math.lgamma((freedom + size) / 2) - math.lgamma(freedom / 2)
    constant -= size / 2 * math.log(freedom * math.pi)
    stretched = torch.log1p(_squared_length(offset, tril) / freedom)
    return constant - _half_log_det(tril) - (freedom + size) / 2 * stretched


def _angular(quaternions: Tensor, tril: Tensor) -> Tensor:
    area = math.log(2 * math.pi**2)
    return -2 * _squared_length(quaternions, tril).log() - _half_log_det(tril) - area


def _squared_length(vectors: Tensor, tril: Tensor) -> Tensor:
    """v^T (L L^T)^-1 v of vectors [m,B,d], [m,B]."""
    whitened = torch.linalg.solve_triangular(tril, vectors.permute(1, 2, 0), upper=False)
    return whitened.square().sum(1).mT


def _half_log_det(tril: Tensor) -> Tensor:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
