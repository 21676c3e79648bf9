"""Pictures of a session: the views with labels and reprojections, errors by view and joint, the animal in space."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from refkp._extras import named_extras
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.frames import SynchronisedFrame, read_picture, with_labels
from refkp.systems.multiview.inspection import Inspection
from refkp.systems.multiview.inspection.errors import view_distances
from refkp.systems.multiview.session import Observations, Recording, View

with named_extras():
    from matplotlib.figure import Figure

#: Colours of what was labelled and of what was found, in every figure.
LABEL, REPROJECTED = "#35c759", "#ff3b30"
#: Animals of one figure in space, at most.
NUM_SKELETONS = 8


def inspection_figures(found: Inspection) -> dict[str, Figure]:
    """File name without its ending -> figure: what is labelled, an instant, and with cameras errors and the animal."""
    recording, seen = found.recording, found.seen
    figures = {"labels": missing_picture(seen.visible, recording.view_names, recording.joints)}
    return figures | space_figures(recording, seen, found.points, found.cameras)


def space_figures(
    recording: Recording, seen: Observations, points: np.ndarray, cameras: Calibration | None
) -> dict[str, Figure]:
    """File name without its ending -> figure: the views at an instant, and with cameras the errors and the animal.

    A view whose video does not give that instant is drawn without its picture, which a warning says.

    Args:
        recording: with the videos to show.
        seen: one animal, F frames of all V views.
        points: [F,J,3] in space; NaN where missing.
        cameras: of views, under their names; the others are drawn without reprojections.
    """
    figures: dict[str, Figure] = {}
    best = int(seen.visible.sum((1, 2)).argmax())
    projected = np.full(seen.xy.shape[1:], np.nan)
    if np.isfinite(points).any() and cameras is not None:
        views, rig = [recording.view_names.index(name) for name in cameras.names], cameras.rig
        projected[views] = rig.project(torch.from_numpy(points[best])).uv.transpose(0, 1).numpy()
        distances = view_distances(seen.select(views), points, rig)
        figures["errors"] = error_picture(distances, cameras.names, recording.joints)
        whole = np.flatnonzero(np.isfinite(points).all(-1).mean(1) > 0.5)
        chosen = whole[np.linspace(0, len(whole) - 1, min(NUM_SKELETONS, len(whole))).astype(int)]
        figures["space"] = space_picture(points[chosen], recording.edges, rig.centres().numpy())
    number = int(seen.frames[best])
    pictures = [shown_picture(view, number) for view in recording.views]
    shown = with_labels(recording, seen, number, pictures)
    figures["views"] = view_picture(shown, projected, recording.edges)
    return figures


def view_axes(frame: SynchronisedFrame) -> Figure:
    """A figure with the picture of every view."""
    count = len(frame.pictures)
    columns = min(count, 2 if count < 5 else 3)
    figure = Figure(figsize=(6.4 * columns, 4.8 * -(-count // columns)), layout="constrained")
    for index, (name, picture) in enumerate(zip(frame.names, frame.pictures, strict=True)):
        axis = figure.add_subplot(-(-count // columns), columns, index + 1)
        axis.set_title(f"{name}, frame {frame.number}")
        axis.set_axis_off()
        width, height = frame.sizes[index]
        if picture is not None:
            axis.imshow(picture, extent=(0, width, height, 0))
        axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    return figure


def shown_picture(view: View, number: int) -> NDArray[np.uint8] | None:
    """A picture of one view uint8 [H,W,3]; None, with a warning, where its video does not give it."""
    try:
        return read_picture(view, number)
    except ValueError as error:
        warnings.warn(f"{view.name} is drawn without its picture: {error}", stacklevel=1)
        return None


def view_picture(frame: SynchronisedFrame, projected: np.ndarray, edges: Sequence[tuple[int, int]]) -> Figure:
    """Every view of an instant with its labels (circles, bones) and where the cameras see the points (crosses).

    Args:
        frame: V views.
        projected: [V,J,2] pixels; NaN where there is no point.
        edges: bones.
    """
    figure = view_axes(frame)
    for index, axis in enumerate(figure.axes):
        labels = frame.xy[index]
        for a, b in edges:
            axis.plot(*labels[[a, b]].T, color=LABEL, linewidth=0.8, alpha=0.7)
        seen, found = labels.T, projected[index].T
        axis.scatter(
            seen[0], seen[1], s=26, facecolors="none", edgecolors=LABEL, linewidths=1.2, label="label"
        )
        axis.scatter(found[0], found[1], s=22, marker="x", c=REPROJECTED, linewidths=1, label="reprojected")
        if index == 0:
            axis.legend(loc="lower left", fontsize="small")
    return figure


def error_picture(distances: np.ndarray, names: Sequence[str], joints: Sequence[str]) -> Figure:
    """The median error of each joint in each view, pixels: distances [F,V,J], NaN where there is none."""
    known = np.isfinite(distances)
    medians = np.array(
        [
            [
                np.median(column[seen]) if seen.any() else np.nan
                for column, seen in zip(view.T, kept.T, strict=True)
            ]
            for view, kept in zip(distances.transpose(1, 0, 2), known.transpose(1, 0, 2), strict=True)
        ]
    )
    figure = Figure(figsize=(2 + 0.55 * len(joints), 1.8 + 0.45 * len(names)), layout="constrained")
    axis = figure.add_subplot()
    shown = axis.imshow(medians, cmap="viridis", aspect="auto")
    axis.set_xticks(range(len(joints)), joints, rotation=60, ha="right")
    axis.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(*medians.shape):
        text = f"{medians[row, column]:.1f}" if np.isfinite(medians[row, column]) else "-"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white")
    figure.colorbar(shown, ax=axis, label="median error, px")
    return figure


def missing_picture(visible: np.ndarray, names: Sequence[str], joints: Sequence[str]) -> Figure:
    """The share of frames in which each joint is labelled in each view: visible bool [F,V,J]."""
    share = visible.mean(0)
    figure = Figure(figsize=(2 + 0.55 * len(joints), 1.8 + 0.45 * len(names)), layout="constrained")
    axis = figure.add_subplot()
    shown = axis.imshow(share, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(joints)), joints, rotation=60, ha="right")
    axis.set_yticks(range(len(names)), names)
    figure.colorbar(shown, ax=axis, label="share of frames with a label")
    return figure


def space_picture(points: np.ndarray, edges: Sequence[tuple[int, int]], centres: np.ndarray) -> Figure:
    """Animals [n,J,3] at some instants as skeletons, the later the brighter, with the cameras [V,3] as triangles."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.add_subplot(projection="3d")
    for shade, animal in zip(np.linspace(0.25, 0.95, len(points)), points, strict=True):
        for a, b in edges:
            axis.plot(*animal[[a, b]].T, color=(0.1, 0.35, shade), linewidth=1)
    axis.scatter(*centres.T, marker="^", c=REPROJECTED, label="cameras")
    axis.set(xlabel="x", ylabel="y", zlabel="z")
    axis.set_box_aspect(None)
    axis.set_aspect("equal")
    axis.legend()
    return figure
