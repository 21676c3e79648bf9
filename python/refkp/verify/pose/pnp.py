"""Adapter of the probabilistic PnP layer: cost and Jacobian, the solver, the Monte-Carlo loss."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from refkp.geometry.pnp import (
    MonteCarloSpec,
    PnPProblem,
    PnPSpec,
    RobustReprojection,
    gauss_newton,
    gauss_newton_step,
    levenberg_marquardt,
    posterior_loss,
    quaternion_tangent_map,
    sample_posterior,
    solution_at,
)
from refkp.verify.gradients import leaf, projected_gradients, scalar_gradients
from refkp.verify.registry import Arrays, Params, Values, adapter

#: The iteration counts after which the solver's poses are stored.
STORED_ITERATIONS = (1, 3, 5, 10, 30)
STORED_FAST_ITERATIONS = 6
STORED_STEP_AFTER = 5


@adapter("pose", "epropnp")
def epropnp(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Recorded samples make it a case of the loss, a projection of the last step one of the solver."""
    leaves = {name: leaf(arrays[name]) for name in ("x3d", "x2d", "w2d")}
    problem, spec = PnPProblem(leaves["x3d"], leaves["x2d"], leaves["w2d"], arrays["K"]), _spec(params)
    if "pose_samples" in arrays:
        return _monte_carlo(problem, leaves, arrays, spec, params["norm_factor"])
    if "plus_projection" in arrays:
        return _solver(problem, leaves, arrays, spec)
    return _evaluation(problem, leaves, arrays, spec)


def _spec(params: Params) -> PnPSpec:
    """The constants under their names; what a case does not name it does not use."""
    names = {
        "z_min": "z_min",
        "relative_delta": "relative_threshold",
        "eps": "eps",
        "lm_iter": "iterations",
        "initial_trust_region_radius": "initial_radius",
    }
    sampling = {
        "mc_samples": "samples",
        "num_iter": "iterations",
        "acg_mle_iter": "rotation_iterations",
        "acg_dispersion": "rotation_dispersion",
        "eps": "rotation_eps",
    }
    return PnPSpec(
        **{ours: params[theirs] for theirs, ours in names.items() if theirs in params},
        monte_carlo=MonteCarloSpec(
            **{ours: params[theirs] for theirs, ours in sampling.items() if theirs in params}
        ),
    )


def _evaluation(problem: PnPProblem, leaves: dict[str, Tensor], arrays: Arrays, spec: PnPSpec) -> Values:
    robust = RobustReprojection(problem, spec)
    values: Values = {
        "delta": robust.threshold,
        "quat_tangent_map": quaternion_tangent_map(arrays["pose_init"][:, 3:]),
    }
    for name in ("init", "gt"):
        at = robust.linearise(arrays[f"pose_{name}"])
        values |= {f"residual_{name}": at.residual, f"jacobian_{name}": at.jacobian}
        values[f"cost_{name}"] = robust.cost(arrays[f"pose_{name}"])
    inputs = {f"grad_cost_{name}": tensor for name, tensor in leaves.items()}
    return {**values, **scalar_gradients(values["cost_init"].sum(), inputs)}


def _solver(problem: PnPProblem, leaves: dict[str, Tensor], arrays: Arrays, spec: PnPSpec) -> Values:
    values: Values = {}
    for count in STORED_ITERATIONS:
        solution = levenberg_marquardt(
            problem, arrays["pose_init"], dataclasses.replace(spec, iterations=count)
        )
        step = gauss_newton_step(problem, solution.pose, spec)
        values |= {
            f"pose_iter{count}": solution.pose,
            f"cost_iter{count}": solution.cost,
            f"cov_iter{count}": solution.covariance,
            f"plus_iter{count}": step.pose,
        }
        if count == STORED_STEP_AFTER:
            values[f"gn_step{count}"] = step.step
            inputs = {f"grad_plus_{name}": tensor for name, tensor in leaves.items()}
            values |= projected_gradients([(step.pose, arrays["plus_projection"])], inputs)
    fast = dataclasses.replace(spec, fast_iterations=STORED_FAST_ITERATIONS)
    values[f"pose_fast{STORED_FAST_ITERATIONS}"] = gauss_newton(problem, arrays["pose_init"], fast).pose
    return values


def _monte_carlo(
    problem: PnPProblem, leaves: dict[str, Tensor], arrays: Arrays, spec: PnPSpec, norm_factor: float
) -> Values:
    recorded = iter(arrays["pose_samples"].chunk(spec.monte_carlo.iterations))
    solution = solution_at(problem, arrays["pose_opt"], spec)
    population = sample_posterior(problem, solution, spec, draw=lambda proposal, size: next(recorded))
    loss = posterior_loss(problem, arrays["pose_gt"], population, spec, norm_factor=norm_factor)
    inputs = {f"grad_loss_{name}": tensor for name, tensor in leaves.items()}
    return {
        "trans_mode": torch.stack([proposal.centre for proposal in population.proposals]),
        "trans_cov_tril": torch.stack([proposal.translation_tril for proposal in population.proposals]),
        "rot_cov_tril": torch.stack([proposal.rotation_tril for proposal in population.proposals]),
        "proposal_logprob": population.log_density,
        "sample_cost": population.cost,
        "logweights": population.log_weights,
        "cost_target": loss.cost_true,
        "loss": loss.mean,
        **scalar_gradients(loss.mean, inputs),
    }
