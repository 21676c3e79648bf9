"""Levenberg-Marquardt over all frames at once: frames are coupled to their neighbours, and all to the animal's own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.banded import second_differences, solve_coupled
from refkp.systems.multiview.fitting.problem import Curvature, Problem, cost, coupling, curvature, noise_of
from refkp.systems.multiview.fitting.variables import Variables

#: How much wider than their noise labels count, in turn: far ones pull first, and later count as wrong.
WIDENED = (8.0, 2.0, 1.0)
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e8
#: A cost that falls by less than this share has converged.
_CONVERGED = 1e-5


class Solved(NamedTuple):
    """The variables of least cost, and the noise that labels were found to have."""

    variables: Variables
    noise_px: float


def minimise(problem: Problem, variables: Variables, *, fixed_shape: bool = False) -> Solved:
    """The variables of least cost near the given ones.

    After each round the noise is that of all labels about the joints, by their median, unless the spec tells it.

    Args:
        problem: what is minimised.
        variables: where to begin.
        fixed_shape: size, shapes and lengths of bones stay.
    """
    for widen in WIDENED:
        variables = _minimised(problem, variables, widen, fixed_shape)
        if problem.spec.noise_px is None:
            problem = problem._replace(noise_px=noise_of(problem, variables))
    return Solved(variables, problem.noise_px)


def _minimised(problem: Problem, variables: Variables, widen: float, fixed_shape: bool) -> Variables:
    damping, current = _FIRST_DAMPING, float(cost(problem, variables, widen))
    for _ in range(problem.spec.iterations):
        gradient = _gradient(problem, variables, widen)
        blocks = curvature(problem, variables, widen)
        while True:
            tried = variables.moved(*_step(problem, gradient, blocks, damping, fixed_shape))
            value = float(cost(problem, tried, widen))
            if value < current or damping >= _MOST_DAMPING:
                break
            damping *= 10
        if not value < current:
            break
        done = current - value < _CONVERGED * current
        variables, current, damping = tried, value, max(damping / 10, _LEAST_DAMPING)
        if done:
            break
    return variables


def _gradient(problem: Problem, variables: Variables, widen: float) -> tuple[Tensor, Tensor]:
    """Of the cost with respect to a step, [F,P] and [S]."""
    frames = torch.zeros(len(variables.trans), 3 + variables.rotations[0, :, 0].numel(), dtype=torch.float64)
    shared = torch.zeros(1 + len(variables.betas) + len(variables.log_lengths), dtype=torch.float64)
    frames.requires_grad_(), shared.requires_grad_()
    with torch.enable_grad():
        found = torch.autograd.grad(cost(problem, variables.moved(frames, shared), widen), (frames, shared))
    return found[0], found[1]


def _step(
    problem: Problem, gradient: tuple[Tensor, Tensor], blocks: Curvature, damping: float, fixed_shape: bool
) -> tuple[Tensor, Tensor]:
    """The damped step, [F,P] and [S]: the shared part by the Schur complement of the frames."""
    by_frame, by_shared = gradient
    bands = second_differences(len(by_frame))
    stiff = coupling(problem, by_frame.shape[1])
    diagonal = blocks.frames.diagonal(dim1=1, dim2=2)
    own = blocks.frames + (damping * (diagonal + diagonal.mean())).diag_embed()
    right = torch.cat((by_frame[..., None], blocks.between), dim=-1)
    solved = solve_coupled(own, right, stiff, bands)
    alone, together = solved[..., 0], solved[..., 1:]
    if fixed_shape:
        return -alone, torch.zeros_like(by_shared)
    reduced = blocks.shared - torch.einsum("fps,fpq->sq", blocks.between, together)
    reduced = reduced + (damping * blocks.shared.diagonal()).diag()
    pull = by_shared - torch.einsum("fps,fp->s", blocks.between, alone)
    shared = -torch.linalg.solve(reduced, pull)
    return -(alone + together @ shared), shared
