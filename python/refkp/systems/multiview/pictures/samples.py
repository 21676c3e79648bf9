"""Samples and what a model makes of them: the body over every view, the share of joints found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.geometry.cameras import project
from refkp.systems.multiview.body.posing import pose_body
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.losses.truth import truth_of
from refkp.systems.multiview.metrics.points import PIXEL_THRESHOLDS
from refkp.systems.multiview.model.network import Cameras, MultiviewModel
from refkp.systems.multiview.pictures.bodies import draw_body, turntable

with named_extras():
    from matplotlib.figure import Figure

_NUM_SHOWN = 3


@torch.no_grad()
def estimate_figures(
    model: MultiviewModel, dataset: MultiviewDataset, *, calibrated: bool = False
) -> dict[str, Figure]:
    """File name without its ending -> figure: samples from all over a data set with the estimated body in each view,
    and the first body from all around.

    Args:
        model: in evaluation mode, on any device.
        dataset: held-out samples.
        calibrated: give the model the cameras.
    """
    places = np.linspace(0, len(dataset) - 1, min(_NUM_SHOWN, len(dataset))).round().astype(int)
    batch = collate([dataset[int(place)] for place in places])
    truth, device = truth_of(batch), model.prior.size.device
    shown = (batch.images, batch.view_mask, batch.camera_indices)
    given = Cameras(*(part.to(device) for part in truth.cameras)) if calibrated else None
    estimate = model(*(part.to(device) for part in shown), given, truth.has_camera.to(device))
    pose = estimate.pose.each(Tensor.cpu)
    body = model.body.to("cpu")
    posed = pose_body(body, pose)
    points = torch.cat((posed.vertices, posed.joints), 1)[:, None]
    seen = project(points, *(part.cpu() for part in estimate.cameras))
    labels = torch.where(batch.visibility[..., None] > 0, batch.keypoints, torch.nan)
    names = [
        [dataset.store.info.camera_names[index] for index in row] for row in batch.camera_indices.tolist()
    ]
    figure = _grid(batch.images, batch.view_mask, names, batch.sessions, batch.frames)
    slots = batch.view_mask.nonzero().tolist()
    for axis, (row, slot) in zip(figure.axes, slots, strict=True):
        parts = (seen.uv[row, slot], seen.depth[row, slot], labels[row, slot])
        draw_body(axis, body.faces.numpy(), *(part.numpy() for part in parts))
    return {"samples": figure, "turntable": turntable(body, pose.each(lambda part: part[:1]))}


def _grid(
    images: Tensor,
    view_mask: Tensor,
    names: Sequence[Sequence[str]],
    sessions: Sequence[str],
    frames: Sequence[int],
) -> Figure:
    """The pictures uint8 [B,V,3,S,S] that are there: a row for each sample."""
    rows, columns = view_mask.shape
    side = images.shape[-1]
    figure = Figure(figsize=(2.8 * columns, 3.0 * rows), layout="constrained")
    for row, slot in view_mask.nonzero().tolist():
        axis = figure.add_subplot(rows, columns, row * columns + slot + 1)
        axis.set_title(f"{sessions[row]}, frame {frames[row]}, {names[row][slot]}", fontsize=7)
        axis.set_axis_off()
        axis.imshow(images[row, slot].permute(1, 2, 0).numpy(), extent=(0, side, side, 0))
        axis.set(xlim=(0, side), ylim=(side, 0))
    return figure


def pck_figure(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """The share of joints within each distance, by name: in pixels of the stored picture and of the raw one.

    Args:
        curves: name -> shares at PIXEL_THRESHOLDS, of either.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for place, title in enumerate(("pixels of the stored picture", "pixels of the raw picture")):
        axis = figure.add_subplot(1, 2, place + 1)
        for name, shares in curves.items():
            axis.plot(PIXEL_THRESHOLDS, shares[place], marker=".", label=name)
        axis.set(xlabel=title, ylabel="share of joints", ylim=(0, 1), xscale="log")
    figure.axes[0].legend(fontsize="small")
    return figure
