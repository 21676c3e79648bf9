"""Pose from weighted 2D-3D correspondences that learns its weights (EPro-PnP).

    problem                  correspondences, cameras and constants
    pose                     poses as seven numbers, local steps, pose errors
    precision                factorisations that do not raise
    cost                     robust reprojection cost, residuals, Jacobian
    centring                 problems about the mean of their points
    levenberg_marquardt      the solver, and single differentiable steps
    draws                    random numbers of all objects, or of each by itself
    jackknife                the covariance of matches that err together in groups
    initialisation           random restarts, and `solve`
    proposals                Student-t and angular central Gaussian
    monte_carlo              adaptive importance sampling and the loss
    derivative               the loss on the next solver step
    norm_factor              the running scale of the weights

Poses are (t, q) with q = (w,i,j,k), object to camera, OpenCV axes; the constants assume metres. Everything
runs in float32 or float64, also inside an autocast region.

Source: spec pose 4.4; Chen et al., "EPro-PnP: Generalized End-to-End Probabilistic Perspective-n-Points for
Monocular Object Pose Estimation", CVPR 2022.
"""

from refkp.geometry.pnp.cost import Linearisation, RobustReprojection, pose_cost, robust_threshold
from refkp.geometry.pnp.derivative import DerivativeLoss, derivative_loss
from refkp.geometry.pnp.draws import Generators, draw
from refkp.geometry.pnp.initialisation import initial_pose, solve
from refkp.geometry.pnp.jackknife import grouped_covariance
from refkp.geometry.pnp.levenberg_marquardt import (
    GaussNewtonStep,
    PnPSolution,
    gauss_newton,
    gauss_newton_step,
    levenberg_marquardt,
    solution_at,
)
from refkp.geometry.pnp.monte_carlo import (
    MonteCarloLoss,
    Population,
    importance_log_weights,
    monte_carlo_pose_loss,
    posterior_loss,
    sample_posterior,
)
from refkp.geometry.pnp.norm_factor import NormFactor, weight_scale
from refkp.geometry.pnp.pose import (
    PoseError,
    matrix_to_pose,
    move_pose,
    pose_error,
    pose_to_matrix,
    quaternion_tangent_map,
)
from refkp.geometry.pnp.problem import InitialisationSpec, MonteCarloSpec, PnPProblem, PnPSpec
from refkp.geometry.pnp.proposals import Proposal, first_proposal, fit_proposal

__all__ = [
    "DerivativeLoss",
    "GaussNewtonStep",
    "Generators",
    "InitialisationSpec",
    "Linearisation",
    "MonteCarloLoss",
    "MonteCarloSpec",
    "NormFactor",
    "PnPProblem",
    "PnPSolution",
    "PnPSpec",
    "Population",
    "PoseError",
    "Proposal",
    "RobustReprojection",
    "derivative_loss",
    "draw",
    "first_proposal",
    "fit_proposal",
    "gauss_newton",
    "gauss_newton_step",
    "grouped_covariance",
    "importance_log_weights",
    "initial_pose",
    "levenberg_marquardt",
    "matrix_to_pose",
    "monte_carlo_pose_loss",
    "move_pose",
    "pose_cost",
    "pose_error",
    "pose_to_matrix",
    "posterior_loss",
    "quaternion_tangent_map",
    "robust_threshold",
    "sample_posterior",
    "solution_at",
    "solve",
    "weight_scale",
]
