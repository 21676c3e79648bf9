"""How a pose is estimated: the options of every step, checked where they are made.

Commands take these from their parser, so nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from refkp._checks import fail, require_choice

#: What a match is made of: every pixel of the partner patch by flow, the two patch centres, or the query
#: centre and its expected place among the nine patches around the partner.
KINDS = ("refined", "coarse", "soft")

MODES = ("cluster", "global")

#: How the templates of a cluster are chosen: "verified" are the best one and its neighbours by viewing
#: direction, where the best is the one that supports the best pose of a pass over all; "neighbours" the same
#: with the best by score; "scores" the best few by score.
CLUSTERS = ("verified", "neighbours", "scores")

SOLVERS = ("ransac", "epropnp")

#: The least number of matches that can be told from chance: three fix the pose, one more checks it.
MIN_MATCHES = 4


@dataclass(frozen=True)
class MatchSpec:
    """How matches are made of predictions.

    Args:
        kind: what a match is, one of `KINDS`.
        top_k_patches: the most probable pairs of patches of each template; None: all.
        min_weight: of "refined" matches, in 1 / patch: 1 asks for an error scale of one patch at most.
        mutual: keep a pair only if the query patch is also the best of its partner.
        max_count: matches of a template that enter PnP, drawn by weight.
    """

    kind: str = "refined"
    top_k_patches: int | None = None
    min_weight: float = 1.0
    mutual: bool = False
    max_count: int = 2000

    def __post_init__(self) -> None:
        require_choice("MatchSpec", "kind", self.kind, KINDS)
        if self.max_count < MIN_MATCHES:
            fail("MatchSpec", "max_count", f">= {MIN_MATCHES}, the least for a pose", self.max_count)
        if self.top_k_patches is not None and self.top_k_patches < 1:
            fail("MatchSpec", "top_k_patches", ">= 1 or None", self.top_k_patches)


@dataclass(frozen=True)
class ModeSpec:
    """Which templates are asked, and how many of them give matches.

    Args:
        mode: "cluster": a few templates that are seen together; "global": all of them, each alone.
        num_templates: whose matches give the pose together.
        num_hypotheses: of all templates, those that give a pose of their own; geometry chooses.
        cluster: how a cluster is chosen, one of `CLUSTERS`.
        chunk: templates of a pass over all that are asked at a time, each alone: it bounds the memory and changes
            no answer.
        matching: what a match is.
    """

    mode: str = "cluster"
    num_templates: int = 4
    num_hypotheses: int = 12
    cluster: str = "verified"
    chunk: int = 32
    matching: MatchSpec = field(default_factory=MatchSpec)

    def __post_init__(self) -> None:
        require_choice("ModeSpec", "mode", self.mode, MODES)
        require_choice("ModeSpec", "cluster", self.cluster, CLUSTERS)
        if self.num_templates < 1 or self.chunk < 1:
            fail("ModeSpec", "num_templates, chunk", ">= 1", (self.num_templates, self.chunk))
        if self.asks_all and self.num_hypotheses < self.num_templates:
            rule = f">= num_templates = {self.num_templates}"
            fail("ModeSpec", "num_hypotheses", rule, self.num_hypotheses)

    @property
    def asks_all(self) -> bool:
        """Whether all templates give matches, at least at first."""
        return self.mode == "global" or self.cluster == "verified"


@dataclass(frozen=True)
class RansacSpec:
    """How outliers are told from inliers.

    Args:
        threshold_px: largest reprojection error of an inlier, in pixels of the picture of K.
        iterations: samples at most.
        max_points: so many matches, drawn by chance, are sampled and judge the samples; the best is refined on all.
        confidence: sampling stops when an all-inlier sample was drawn with this probability.
        min_inliers: a pose with fewer is none, unless every match agrees with it.
        seed: fixes the samples.
    """

    threshold_px: float = 5.0
    iterations: int = 1000
    max_points: int = 300
    confidence: float = 0.99
    min_inliers: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threshold_px > 0:
            fail("RansacSpec", "threshold_px", "> 0", self.threshold_px)
        if self.iterations < 1 or self.min_inliers < MIN_MATCHES:
            got = (self.iterations, self.min_inliers)
            fail("RansacSpec", "iterations, min_inliers", f">= 1 and >= {MIN_MATCHES}", got)
        if self.max_points < self.min_inliers:
            rule = f">= min_inliers = {self.min_inliers}"
            fail("RansacSpec", "max_points", rule, self.max_points)
        if not 0 < self.confidence < 1:
            fail("RansacSpec", "confidence", "between 0 and 1", self.confidence)


@dataclass(frozen=True)
class SolverSpec:
    """How a pose is refined.

    Args:
        iterations: of Levenberg-Marquardt.
        max_weight: 1 / pixel, so that no match counts as better than a quarter of a pixel.
    """

    iterations: int = 10
    max_weight: float = 4.0

    def __post_init__(self) -> None:
        if self.iterations < 1 or not self.max_weight > 0:
            got = (self.iterations, self.max_weight)
            fail("SolverSpec", "iterations, max_weight", ">= 1 and > 0", got)


@dataclass(frozen=True)
class EstimatorSpec:
    """How a pose is estimated.

    Args:
        modes: which templates are asked, and what a match is.
        solver: hypotheses by RANSAC over EPnP ("ransac", needs OpenCV), or by EPro-PnP from random subsets of
            the weighted matches ("epropnp").
        ransac: threshold of inliers, in pixels of the crop; samples and seed.
        refinement: the weighted least squares on the inliers that ends both, and gives the covariance.
        max_step_px: matches beside a depth edge of a template are dropped, see `lift`.
        min_confidence: a pose is none if the probability that it is right (`inference.confidence`) is smaller; 0
            gives every pose.
    """

    modes: ModeSpec = field(default_factory=ModeSpec)
    solver: str = "ransac"
    ransac: RansacSpec = field(default_factory=RansacSpec)
    refinement: SolverSpec = field(default_factory=SolverSpec)
    max_step_px: float = 10.0
    min_confidence: float = 0.6

    def __post_init__(self) -> None:
        require_choice("EstimatorSpec", "solver", self.solver, SOLVERS)
        if not 0 <= self.min_confidence <= 1:
            fail("EstimatorSpec", "min_confidence", "in [0,1]", self.min_confidence)
