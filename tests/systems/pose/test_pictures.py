"""Pictures of matches and poses show what they are given, and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.pose import pictures
from refkp.systems.pose.targets import PoseTargets, pose_targets
from refkp.systems.pose.views import Views
from refkp.viz.flow import flow_to_color

SIDE, PATCH = 64, 16
K = torch.tensor([[70.0, 0, 32], [0, 70, 32], [0, 0, 1]], dtype=torch.float64)


def cube() -> Mesh:
    corners = np.array([[x, y, z] for x in (-50.0, 50.0) for y in (-50.0, 50.0) for z in (-50.0, 50.0)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(corners, np.array(faces, dtype=np.int64))


def pose(turn: float, x: float = 0.0) -> Tensor:
    result = torch.eye(4, dtype=torch.float64)
    result[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0], dtype=torch.float64))
    result[:3, 3] = torch.tensor([x, 0.0, 200.0])
    return result


def view(turn: float, x: float = 0.0) -> Views:
    shown = MeshRenderer([cube()]).render(pose(turn, x)[None].numpy(), K.numpy(), (SIDE, SIDE))
    depth = torch.from_numpy(shown.depth)
    rgb = torch.from_numpy(shown.rgb).permute(2, 0, 1).float() / 255
    return Views(rgb, depth > 0, depth, K, pose(turn, x))


def targets(query: Views, template: Views) -> PoseTargets:
    return pose_targets(
        Views(*(tensor[None] for tensor in query)), Views(*(tensor[None, None] for tensor in template)), PATCH
    )


def test_targets_are_shown_as_they_are() -> None:
    query, template = view(0.0), view(0.6)
    truth = targets(query, template)
    shown = pictures.shown_targets(truth, 0, 0)
    assert shown.state.tolist() == [-1 if n < 0 else int(n < 16) for n in truth.labels[0, 0].tolist()]
    assert torch.equal(shown.partner[shown.matched], truth.labels[0, 0][truth.has_partner[0, 0]])
    figure = pictures.correspondence_picture(query, template, shown)
    assert f"{int(shown.matched.sum())} of {int((shown.state >= 0).sum())}" in figure.axes[0].get_title()
    figure.canvas.draw()


def test_an_unseen_query_has_no_pair_to_show() -> None:
    query, template = view(0.0), view(0.0)
    shown = pictures.shown_targets(targets(query, template), 0, 0)
    nothing = shown._replace(state=torch.where(shown.state > 0, 0, shown.state))
    figure = pictures.correspondence_picture(query, template, nothing)
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match="`pair` must be a query patch that is matched"):
        pictures.correspondence_picture(query, template, nothing, pair=5)


def test_equal_views_have_no_displacement() -> None:
    """Every pixel of a partner lies where it lies: white; a shift of 8 px to the right is cyan all over."""
    still = view(0.0)
    moved = still._replace(
        images=still.images.roll(8, -1), masks=still.masks.roll(8, -1), depth=still.depth.roll(8, -1),
        K=K + torch.tensor([[0.0, 0, 8], [0, 0, 0], [0, 0, 0]]),
    )  # fmt: skip
    panels = {
        "still": pictures.shown_targets(targets(still, still), 0, 0),
        "moved": pictures.shown_targets(targets(moved, still), 0, 0),
    }
    figure = pictures.flow_picture(still.size, panels)
    white, cyan = (np.asarray(axis.get_images()[0].get_array()) for axis in figure.axes[:2])
    np.testing.assert_allclose(white[30:34, 30:34], 1.0, atol=1e-3)
    # Query patch and partner differ by half a patch: (+0.5, 0) of it, or -0.5 into the next one.
    wanted = [flow_to_color(np.array([x, 0.0]), max_flow=0.5) for x in (0.5, -0.5)]
    middle = cyan[30:34, 30:34].reshape(-1, 3)
    assert all(min(np.abs(colour - want).max() for want in wanted) < 1e-3 for colour in middle)


def test_predictions_follow_the_logits() -> None:
    on_object = torch.tensor([True] * 3 + [False])
    logits = torch.full((4, 5), -9.0)
    logits[torch.arange(4), torch.tensor([2, 4, 0, 1])] = 9.0
    shown = pictures.shown_prediction(logits, torch.zeros(4, 2, 2, 2), torch.full((4, 2, 2), 1.0), on_object)
    assert shown.state.tolist() == [1, 0, 1, -1]
    assert shown.partner[[0, 2]].tolist() == [2, 0]
    assert shown.confidence.min() > 0.99
    torch.testing.assert_close(shown.pixel_confidence, torch.full((4, 2, 2), 0.1548), atol=1e-4, rtol=0)


def test_confidence_and_overlay_are_drawn() -> None:
    query = view(0.3)
    shown = pictures.shown_targets(targets(query, view(0.0)), 0, 0)
    pictures.confidence_picture(query, shown).canvas.draw()
    rgb = (query.images * 255).to(torch.uint8)
    figure = pictures.overlay_picture(rgb, cube(), K, pose(0.4), truth=pose(0.3))
    estimate = np.asarray(figure.axes[1].get_images()[0].get_array())
    for colour in ((255, 140, 0), (40, 220, 90)):
        assert (estimate == colour).all(-1).any()
    assert len(figure.axes) == 3
    assert len(pictures.overlay_picture(rgb, cube(), K, pose(0.4)).axes) == 2


def test_sizes_must_fit() -> None:
    query = view(0.0)
    shown = pictures.shown_targets(targets(query, query), 0, 0)
    smaller = query._replace(masks=query.masks[:32], images=query.images[:, :32])
    with pytest.raises(ValueError, match="`template` must be one view of the size"):
        pictures.correspondence_picture(query, smaller, shown)
    with pytest.raises(ValueError, match=r"`shown\.partner` must be"):
        pictures.confidence_picture(smaller, shown)
    with pytest.raises(ValueError, match="`rgb` must be"):
        pictures.overlay_picture(torch.zeros(8, 8, dtype=torch.uint8), cube(), K, pose(0.0))
