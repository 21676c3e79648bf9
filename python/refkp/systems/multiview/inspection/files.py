"""Labels and videos by themselves: what is missing, what does not fit together."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from refkp.data.video import Video
from refkp.systems.multiview.calibration import matching_name
from refkp.systems.multiview.inspection.errors import at_frames
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.session import Observations, Recording, View

#: Frames of a video that are tried, evenly from the first to the last.
_NUM_TRIED = 5

_COPY_AGAIN = "Copy it again."

#: Share of frames that fewer than two views see, from which on the animal is said to leave.
_LEAVES = 0.02


class VideoFacts(NamedTuple):
    """What a video file says."""

    size: tuple[int, int]  # (width, height)
    num_frames: int
    fps: float


def video_facts(recording: Recording) -> tuple[dict[str, VideoFacts], list[Finding]]:
    """The facts of the videos that can be read, by view, and what is wrong with the others."""
    facts, findings = {}, []
    for view in recording.views:
        if view.video is None:
            remedy = "Put it beside the labels; pictures need it, geometry does not."
            findings.append(Finding("no video", view.name, f"none beside {view.labels_file.name}", remedy))
            continue
        try:
            with Video(view.video) as video:
                facts[view.name] = VideoFacts(video.size, video.num_frames, video.fps)
        except ValueError as error:
            findings.append(Finding("broken video", view.name, str(error).rstrip("."), _COPY_AGAIN))
    return facts, findings


def inspect_videos(recording: Recording, facts: Mapping[str, VideoFacts]) -> Iterator[Finding]:
    """Videos by themselves, against labels and each other."""
    for view in recording.views:
        if view.name not in facts:
            continue
        fact, last = facts[view.name], int(view.labels.frames[-1])
        yield from _undecodable(view, min(last, fact.num_frames - 1))
        if last >= fact.num_frames:
            measured = f"labels up to frame {last}, the video has {fact.num_frames}"
            yield Finding(
                "video shorter than its labels", view.name, measured, "Find the video that was labelled."
            )
    for what, values in (
        ("frames", {name: fact.num_frames for name, fact in facts.items()}),
        ("frames a second", {name: round(fact.fps, 3) for name, fact in facts.items()}),
    ):
        if len(set(values.values())) > 1:
            measured = ", ".join(f"{name} {value:g}" for name, value in values.items()) + f" {what}"
            remedy = "Cut them to one start and one length, and see that no frame was dropped."
            yield Finding("videos of unequal length", recording.name, measured, remedy)


def _undecodable(view: View, labelled: int) -> Iterator[Finding]:
    """A few frames of a video, the last one and the last labelled one among them, must be there."""
    assert view.video is not None  # it has facts
    with Video(view.video) as video:
        places = np.linspace(0, video.num_frames - 1, _NUM_TRIED).round().astype(int)
        tried = sorted({*places.tolist(), labelled})
        missing = [str(number) for number in tried if not _is_there(video, number)]
        if missing:
            measured = (
                f"of the {len(tried)} frames that were tried {', '.join(missing)} cannot be decoded, "
                f"the file says that it has {video.num_frames}"
            )
            yield Finding("broken video", view.name, measured, _COPY_AGAIN)


def _is_there(video: Video, number: int) -> bool:
    try:
        video.frame(number)
    except ValueError:
        return False
    return True


def inspect_points(recording: Recording, seen: Observations, animal: int) -> Iterator[Finding]:
    """Points in space that came with the session must be of frames that are labelled."""
    if recording.points is None:
        return
    first, end = recording.points.first_frame, recording.points.first_frame + len(recording.points.xyz)
    if not np.isfinite(at_frames(recording.points, seen.frames, animal)).any():
        measured = (
            f"no point in a labelled frame: its rows are of frames {first} to {end - 1}, "
            f"the labels of {seen.frames[0]} to {seen.frames[-1]}"
        )
        remedy = "Write which video frames its rows are of into `frames`."
        yield Finding("points of other frames", recording.points.file.name, measured, remedy)


def inspect_labels(
    recording: Recording, seen: Observations, facts: Mapping[str, VideoFacts]
) -> Iterator[Finding]:
    """Labels against the joints of the others, the border of the picture, and each other."""
    reference = recording.views[0]
    counts = Counter(name for view in recording.views for name in view.joints)
    common = [name for name in recording.joints if 2 * counts[name] >= len(recording.views)]
    for view in recording.views:
        missing = ", ".join(name for name in common if name not in view.joints)
        unknown = ", ".join(name for name in view.joints if name not in common)
        if missing or unknown:
            parts = [f"no {missing}"] * bool(missing) + [f"{unknown}, which most views do not have"] * bool(
                unknown
            )
            remedy = "Use one skeleton for all views; a joint is then never triangulated from this one."
            yield Finding("unknown joints", view.name, ", but ".join(parts), remedy)
        elif view.joints != reference.joints and set(view.joints) == set(reference.joints):
            first = next(a for a, b in zip(view.joints, reference.joints, strict=False) if a != b)
            measured = f"another order than in {reference.name}, from {first} on"
            yield Finding(
                "nodes in another order", view.name, measured, "They are matched by name here; check others."
            )
    for index, name in enumerate(recording.view_names):
        if not seen.visible[:, index].any():
            yield Finding(
                "no labels", name, "not one point of this animal", "Leave the view out, or label it."
            )
        yield from _outside(recording, seen, facts, index)
    yield from _unseen_frames(recording, seen)
    yield from _equal_labels(recording, seen)


def _outside(
    recording: Recording, seen: Observations, facts: Mapping[str, VideoFacts], index: int
) -> Iterator[Finding]:
    name = recording.view_names[index]
    size = facts[name].size if name in facts else _calibrated_size(recording, name)
    if size is None:
        return
    xy = seen.xy[:, index]
    outside = np.any((xy < 0) | (xy > np.array(size)), axis=-1)
    if outside.any():
        frames = seen.frames[outside.any(1)]
        measured = (
            f"{int(outside.sum())} labels outside of {size[0]}x{size[1]}, frames {frames[0]} to {frames[-1]}"
        )
        remedy = "Leave those frames out, or see that the labels are of this video."
        yield Finding("animal leaves the picture", name, measured, remedy)


def _calibrated_size(recording: Recording, name: str) -> tuple[int, int] | None:
    if recording.calibration is None:
        return None
    index = matching_name(name, recording.calibration.names)
    return None if index is None else tuple(recording.calibration.sizes[index].tolist())


def _unseen_frames(recording: Recording, seen: Observations) -> Iterator[Finding]:
    """Frames without two views that see the animal."""
    if len(recording.views) < 2:
        yield Finding("one view", recording.name, "nothing can be triangulated", "Add the other views.")
        return
    few = seen.labelled.sum(1) < 2
    if few.mean() > _LEAVES:
        frames = seen.frames[few]
        measured = (
            f"in {few.mean():.0%} of the frames fewer than two views see it, {frames[0]} to {frames[-1]}"
        )
        yield Finding("animal leaves the volume", recording.name, measured, "Leave those frames out.")


def _equal_labels(recording: Recording, seen: Observations) -> Iterator[Finding]:
    for a, b in itertools.combinations(range(len(recording.views)), 2):
        both = seen.visible[:, a] & seen.visible[:, b]
        if both.any() and np.array_equal(seen.xy[:, a][both], seen.xy[:, b][both]):
            where = f"{recording.view_names[a]} and {recording.view_names[b]}"
            yield Finding(
                "duplicate views", where, "they have the same labels", "One is a copy: leave it out."
            )
