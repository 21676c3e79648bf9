"""Views against each other: which belief about one of them makes them agree?"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from refkp.systems.multiview.inspection.beliefs import Belief, beliefs
from refkp.systems.multiview.inspection.evidence import Evidence, disagreement, point_errors
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.inspection.joints import exchanged_joints

#: A belief counts when it lowers the error to this share, and so in so many standard errors over frames.
_BETTER, _SURE = 0.96, 5.0

#: A view that no belief explains stands out when the others agree so much better without it, by a pixel at least.
_WITHOUT = 0.6

#: Beliefs are compared on every so many frames, and the best of them on all.
_FIRST_LOOK, _NUM_BEST = 5, 4

#: Errors above so many times the median count as that: labels that are somewhere else.
_OUTLIER = 3.0


class Inspected(NamedTuple):
    """The faults that were found, and the evidence without them."""

    findings: list[Finding]
    evidence: Evidence
    views: list[int]  # that could be used to the end


def inspect_consistency(evidence: Evidence, names: tuple[str, ...], joints: tuple[str, ...]) -> Inspected:
    """What is wrong with the views, one fault after another."""
    findings: list[Finding] = []
    views = list(range(len(names)))
    for _ in names:
        belief = _best(evidence, names, views)
        error = None if belief is None else disagreement(point_errors(belief.evidence, views))
        outstanding = _outstanding(evidence, views, error)
        if outstanding is not None:
            findings += _told(evidence, names, joints, views, outstanding)
            views = [view for view in views if view != outstanding]
            evidence = evidence.without(outstanding)
        elif belief is not None:
            where = belief.where if len(views) > 2 else f"{belief.where}, or the other view by as much"
            findings.append(Finding(belief.kind, where, belief.measured, belief.remedy))
            evidence = belief.evidence
        else:
            break
    findings += exchanged_joints(evidence, names, joints, views)
    return Inspected(findings, evidence, views)


def _best(evidence: Evidence, names: tuple[str, ...], views: list[int]) -> Belief | None:
    """The belief under which the views agree best, or None where they agree as well as they are."""
    few = evidence.thinned(_FIRST_LOOK)
    # Each holds labels of its own: they are made twice rather than kept.
    first = [disagreement(point_errors(belief.evidence, views)) for belief in beliefs(few, names, views)]
    best = sorted(range(len(first)), key=first.__getitem__)[:_NUM_BEST]
    kept = {number: belief for number, belief in enumerate(beliefs(few, names, views)) if number in best}
    full = [
        kept[number]._replace(evidence=kept[number].evidence._replace(chosen=evidence.chosen))
        for number in best
    ]
    now = point_errors(evidence, views)
    errors = [point_errors(belief.evidence, views) for belief in full]
    if not full:
        return None
    least = min(range(len(full)), key=lambda index: disagreement(errors[index]))
    return full[least] if _improves(now, errors[least], len(evidence.chosen)) else None


def _improves(before: Tensor, after: Tensor, num_frames: int) -> bool:
    """Whether errors [n] of points, frame by frame, are lower after, by a share and beyond chance."""
    if not disagreement(after) < _BETTER * disagreement(before):
        return False
    scale = disagreement(after)
    gain = (_cost(before, scale) - _cost(after, scale)).reshape(num_frames, -1).nanmean(1)
    gain = gain[gain.isfinite()]
    if len(gain) < 2:
        return True
    return float(gain.mean()) > _SURE * float(gain.std()) / len(gain) ** 0.5


def _cost(errors: Tensor, scale: float) -> Tensor:
    return (errors / max(scale, 1e-12)).clamp_max(_OUTLIER).square()


def _outstanding(evidence: Evidence, views: list[int], error: float | None) -> int | None:
    """The view without which the others agree much better than they do under the best belief, if there is one."""
    if len(views) < 3:
        return None
    now = disagreement(point_errors(evidence, views)) if error is None else error
    without = {
        left: disagreement(point_errors(evidence, [view for view in views if view != left])) for left in views
    }
    view = min(views, key=lambda left: without[left])
    return view if without[view] < min(_WITHOUT * now, now - 1) else None


def _told(
    evidence: Evidence, names: tuple[str, ...], joints: tuple[str, ...], views: list[int], view: int
) -> list[Finding]:
    """What is wrong with a view that stands out: its joints, or that it does."""
    findings = [one for one in exchanged_joints(evidence, names, joints, views, [view])]
    if findings:
        return findings
    now = disagreement(point_errors(evidence, views))
    rest = disagreement(point_errors(evidence, [other for other in views if other != view]))
    measured = f"the others agree to {rest:.2f} px without it, to {now:.2f} px with it"
    return [Finding("view stands out", names[view], measured, "Calibrate it again, or leave it out.")]
