"""Pictures of matches and poses: correspondences, confidences, flow, overlays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail, require_shape
from refkp._extras import named_extras
from refkp.data.meshes import Mesh
from refkp.data.rendering import Light, MeshRenderer
from refkp.ops.flow_gt import patch_centres, patch_grid
from refkp.systems.pose.model.flow import flow_confidence
from refkp.systems.pose.targets import PoseTargets
from refkp.systems.pose.views import Views
from refkp.viz import overlay, patches
from refkp.viz.flow import flow_figure

with named_extras():
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ESTIMATE, _TRUTH = (255, 140, 0), (40, 220, 90)
_TINT = 0.4
_BACKGROUND = 0.9  # grey around the object
_ARROWS = 5  # along either side of a patch


class ShownMatches(NamedTuple):
    """What is to be shown of one query and one of its templates; N patches of p x p pixels each.

    `flow[n,i,j]` belongs to pixel (i, j) of the template patch `partner[n]`; the query point it shows is (centre
    of query patch n) + p * flow.
    """

    partner: Tensor  # int64 [N], 0..N-1
    state: Tensor  # int64 [N]: 1 matched, 0 on the object but its partner is unseen, -1 off the object
    confidence: Tensor  # float [N] in [0,1]
    flow: Tensor  # float [N,p,p,2], patch units, x first
    pixel_confidence: Tensor  # float [N,p,p] in [0,1]

    @property
    def matched(self) -> Tensor:
        """[N] bool."""
        return self.state == 1


def shown_targets(targets: PoseTargets, b: int, s: int) -> ShownMatches:
    """Query b and template s of the ground truth: every confidence is 0 or 1."""
    labels = targets.labels[b, s]
    matched = targets.has_partner[b, s]
    state = torch.where(matched, 1, torch.where(labels < 0, -1, 0))
    partner = torch.where(matched, labels, 0)
    visible = targets.visible[b, s].float()
    return ShownMatches(partner, state, matched.float(), targets.flow[b, s].float(), visible)


def shown_prediction(logits: Tensor, flow: Tensor, scale: Tensor, on_object: Tensor) -> ShownMatches:
    """What a model says of one template.

    Args:
        logits: [N,N+1] float, the last class is "unseen".
        flow: [N,p,p,2] of the partner with the largest logit, patch units.
        scale: [N,p,p] Laplace scales in patch units; the pixel confidence is `flow_confidence`.
        on_object: bool [N], the query patches that count.

    Raises:
        ValueError: a shape.
    """
    require_shape("shown_prediction", "logits", logits, "N,K", N=len(on_object), K=len(on_object) + 1)
    require_shape("shown_prediction", "flow", flow, "N,p,p,2", N=len(on_object))
    confidence, choice = logits.detach().float().softmax(-1).max(-1)
    state = torch.where(on_object, (choice < len(on_object)).long(), -1)
    partner = logits[:, :-1].argmax(-1)
    return ShownMatches(
        partner, state, confidence, flow.detach().float(), flow_confidence(scale.detach().float())
    )


def correspondence_picture(
    query: Views, template: Views, shown: ShownMatches, *, num_lines: int = 8, pair: int | None = None
) -> Figure:
    """Where each query patch sees the template, and one pair of patches pixel by pixel.

    Above: the template in colours of place, and every matched query patch in the colour of its partner; hatched
    query patches see nothing of the template. Below: the pair with the most confident flow at an end of a line, or
    that of query patch `pair`; arrows go from where a template pixel lies in its patch to where the flow takes it.

    Args:
        query, template: one view each (no leading axis), of one size.
        shown: their matches.
        num_lines: the most confident matches, spread over the query.
        pair: a matched query patch.

    Raises:
        ValueError: views of different sizes, matches of another grid, or a `pair` without a partner.

    Source: spec pose 8.
    """
    patch_size = _patch_size("correspondence_picture", query, template, shown)
    centres = patch_centres(query.size, patch_size).numpy()
    partner, matched = shown.partner.numpy(), shown.matched.numpy()
    index = np.flatnonzero(matched)
    lines = index[patches.spread_choice(shown.confidence.numpy()[index], centres[index], num_lines)]
    if pair is not None and not matched[pair]:
        fail("correspondence_picture", "pair", "a query patch that is matched", pair)
    chosen = pair if pair is not None else _clearest(shown, lines)
    figure = Figure(figsize=(10, 9.8 if chosen is not None else 5.4), layout="constrained")
    axes = figure.subplots(2 if chosen is not None else 1, 2, squeeze=False)
    colours = _place_colours(template, patch_size)
    _show_tinted(axes[0, 0], query, f"query: {len(index)} of {int((shown.state >= 0).sum())} patches matched",
                 colours[partner], matched, patch_size)  # fmt: skip
    _show_tinted(axes[0, 1], template, "template: the colour is the place", colours,
                 _patches_on_object(template, patch_size), patch_size)  # fmt: skip
    columns = patch_grid(query.size, patch_size)[1]
    unseen = [divmod(int(n), columns) for n in np.flatnonzero(shown.state.numpy() == 0)]
    patches.hatch_patches(axes[0, 0], unseen, patch_size)
    for n in lines:
        places = (centres[n], centres[partner[n]])
        patches.connect(figure, (axes[0, 0], axes[0, 1]), places, colours[partner[n]])
    if chosen is not None:
        _show_pair(figure, (axes[1, 0], axes[1, 1]), query, template, shown, chosen)
    return figure


def confidence_picture(query: Views, shown: ShownMatches) -> Figure:
    """The query, how sure its patches are of their partners, and how sure the flow inside them is.

    Raises:
        ValueError: matches of another grid than the view's.
    """
    patch_size = _patch_size("confidence_picture", query, query, shown)
    grid = patch_grid(query.size, patch_size)
    on_object = (shown.state >= 0).numpy().reshape(grid)
    pixel = np.where(shown.matched[:, None, None], shown.pixel_confidence, np.nan)
    layers = {
        "class: probability of the choice": np.where(on_object, shown.confidence.reshape(grid), np.nan),
        "flow: confidence of the pixels": _mosaic(pixel[..., None], grid)[..., 0],
    }
    figure = Figure(figsize=(12.5, 4.4), layout="constrained")
    axes = figure.subplots(1, 3)
    patches.show_picture(axes[0], _picture(query), "query (hatched: sees nothing of the template)")
    unseen = [divmod(int(n), grid[1]) for n in np.flatnonzero(shown.state.numpy() == 0)]
    for axis, (title, layer) in zip(axes[1:], layers.items(), strict=True):
        patches.show_picture(axis, _faded(_picture(query)), title)
        extent = (0, grid[1] * patch_size, grid[0] * patch_size, 0)
        image = axis.imshow(layer, extent=extent, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    patches.hatch_patches(axes[0], unseen, patch_size)
    figure.colorbar(image, ax=axes[1:], fraction=0.025, pad=0.02)
    return figure


def flow_picture(size: tuple[int, int], panels: Mapping[str, ShownMatches]) -> Figure:
    """The flow of one query and template, told by several sources, in one colour scale.

    The block of query patch n shows its partner's pixels, each with its displacement: from where it lies in its
    own patch to where it is seen, both from the patch centres. Grey: no partner, or a pixel not seen.

    Args:
        size: (height, width) of the query.
        panels: title -> matches.
    """
    return flow_figure({title: _displacement(size, shown) for title, shown in panels.items()}, "patches")


def overlay_picture(
    rgb: Tensor, mesh: Mesh, K: Tensor, cam_from_obj: Tensor, *, truth: Tensor | None = None
) -> Figure:
    """The object in its estimated pose over the picture, beside the picture and, if it is known, the true pose.

    Args:
        rgb: uint8 [3,H,W].
        mesh: the object.
        K: [3,3] of the picture.
        cam_from_obj: [4,4] millimetres.
        truth: the true pose.

    Raises:
        ValueError: a shape.

    Source: spec pose 8.
    """
    require_shape("overlay_picture", "rgb", rgb, "3,H,W")
    picture = rgb.permute(1, 2, 0).cpu().numpy()
    renderer = MeshRenderer([mesh])
    seen = (
        None
        if truth is None
        else renderer.render_depth(truth.numpy()[None], K.numpy(), picture.shape[:2]) > 0
    )
    # The truth's outline is wider and lies below, so that it shows where both agree.
    below = picture if seen is None else overlay.paint(picture, overlay.outline(seen, 4), _TRUTH)
    panels = {"picture": picture, "estimate": _overlaid(below, renderer, K, cam_from_obj, _ESTIMATE)}
    if truth is not None:
        panels["truth"] = _overlaid(picture, renderer, K, truth, _TRUTH)
    height, width = picture.shape[:2]
    side = 12.0 / len(panels)
    figure = Figure(figsize=(12, side * height / width + 0.4), layout="constrained")
    titles = {
        "estimate": "estimate (orange)" + (", outline of the truth (green)" if truth is not None else "")
    }
    for axis, (name, panel) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        patches.show_picture(axis, panel, titles.get(name, name))
    return figure


def _displacement(
    size: tuple[int, int], shown: ShownMatches
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Displacements [rows p, columns p, 2] in patches, and their confidence."""
    p, grid = shown.flow.shape[1], patch_grid(size, shown.flow.shape[1])
    at = (np.arange(p) + 0.5) / p - 0.5
    own = np.stack(np.meshgrid(at, at), -1)
    seen = shown.pixel_confidence * shown.matched[:, None, None]
    return _mosaic(shown.flow.numpy() - own, grid), _mosaic(seen[..., None].numpy(), grid)[..., 0]


def _overlaid(
    picture: NDArray[np.uint8], renderer: MeshRenderer, K: Tensor, pose: Tensor, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    shaded = renderer.render(pose.numpy()[None], K.numpy(), picture.shape[:2], light=Light())
    mask = shaded.instance >= 0
    mixed = overlay.blend(picture, shaded.rgb, mask)
    return overlay.paint(mixed, overlay.outline(mask), colour)


def _clearest(shown: ShownMatches, lines: NDArray[np.int64]) -> int | None:
    """Of the query patches `lines`, the one whose partner's pixels are seen best; None without any."""
    if not len(lines):
        return None
    seen = shown.pixel_confidence[torch.from_numpy(lines)].sum((1, 2))
    return int(lines[int(seen.argmax())])


def _show_tinted(
    axis: Axes,
    view: Views,
    title: str,
    colours: NDArray[np.float64],
    shown: NDArray[np.bool_],
    patch_size: int,
) -> None:
    rows, columns = patch_grid(view.size, patch_size)
    patches.show_picture(axis, _picture(view), title)
    grid_colours = colours.reshape(rows, columns, 3)
    patches.tint_patches(axis, grid_colours, shown.reshape(rows, columns), patch_size, _TINT)


def _show_pair(
    figure: Figure, axes: tuple[Axes, Axes], query: Views, template: Views, shown: ShownMatches, n: int
) -> None:
    """Both patches with one patch of surroundings."""
    patch_size, columns = shown.flow.shape[1], patch_grid(query.size, shown.flow.shape[1])[1]
    partner = int(shown.partner[n])
    views = ((axes[0], query, n, "query patch"), (axes[1], template, partner, "template patch"))
    for axis, view, index, name in views:
        row, column = divmod(index, columns)
        patches.show_picture(axis, _picture(view), f"{name} ({row}, {column})")
        patches.frame_patch(axis, row, column, patch_size, "white")
        axis.set_xlim((column - 1) * patch_size, (column + 2) * patch_size)
        axis.set_ylim((row + 2) * patch_size, (row - 1) * patch_size)
    chosen = np.unique(np.linspace(0, patch_size - 1, _ARROWS).round().astype(int))
    inside = np.stack(np.meshgrid(chosen, chosen), -1) + 0.5
    seen = shown.pixel_confidence[n].numpy()[np.ix_(chosen, chosen)]
    drawn = seen > 0
    centre, origin = (
        np.array(divmod(index, columns)[::-1]) * patch_size + offset
        for index, offset in ((n, patch_size / 2), (partner, 0))
    )
    end = centre + patch_size * shown.flow[n].numpy()[np.ix_(chosen, chosen)][drawn]
    start = centre - patch_size / 2 + inside[drawn]
    arrows = patches.draw_arrows(axes[0], start, end, seen[drawn])
    pixels = origin + inside[drawn]
    style: dict[str, Any] = {
        "cmap": "viridis",
        "vmin": 0,
        "vmax": 1,
        "edgecolors": "black",
        "linewidths": 0.5,
    }
    axes[1].scatter(pixels[:, 0], pixels[:, 1], s=14, c=seen[drawn], **style)
    figure.colorbar(arrows, ax=list(axes), fraction=0.025, pad=0.02).set_label("confidence of the flow")


def _place_colours(view: Views, patch_size: int) -> NDArray[np.float64]:
    """[N,3]: the colour of each patch by its place in the box of the object."""
    centres = patch_centres(view.size, patch_size).numpy()
    rows, columns = (np.flatnonzero(view.masks.numpy().any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((len(centres), 3))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1.0
    return patches.place_colours((centres - low) / (high - low))


def _patches_on_object(view: Views, patch_size: int) -> NDArray[np.bool_]:
    """[N]: the patches with a pixel of the object."""
    rows, columns = patch_grid(view.size, patch_size)
    mask = view.masks.numpy()[: rows * patch_size, : columns * patch_size]
    return mask.reshape(rows, patch_size, columns, patch_size).any((1, 3)).ravel()


def _mosaic(blocks: NDArray[np.floating], grid: tuple[int, int]) -> NDArray[np.floating]:
    """Blocks [N,p,p,c] at the places of their patches: [rows p, columns p, c]."""
    rows, columns = grid
    p, channels = blocks.shape[1], blocks.shape[-1]
    return (
        blocks.reshape(rows, columns, p, p, channels)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * p, columns * p, -1)
    )


def _patch_size(function: str, query: Views, template: Views, shown: ShownMatches) -> int:
    if query.masks.dim() != 2 or query.size != template.size:
        fail(
            function,
            "template",
            f"one view of the size of the query {query.size}",
            list(template.masks.shape),
        )
    patch_size = shown.flow.shape[1]
    rows, columns = patch_grid(query.size, patch_size)
    require_shape(function, "shown.partner", shown.partner, "N", N=rows * columns)
    return patch_size


def _faded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (255 - (255 - picture.astype(np.float64)) * 0.35).astype(np.uint8)


def _picture(view: Views) -> NDArray[np.uint8]:
    shown = torch.where(view.masks, view.images.clamp(0, 1), _BACKGROUND)
    return (shown * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
