"""Bodies: over the pictures of an instant, in space, and all around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.data.meshes import Mesh
from refkp.data.rendering import Light, MeshRenderer
from refkp.geometry.cameras import project
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.body.posing import BodyPose, pose_body
from refkp.systems.multiview.data.rig import looking_at
from refkp.systems.multiview.fitting.fit import BodyFit
from refkp.systems.multiview.frames import SynchronisedFrame, with_labels
from refkp.systems.multiview.model.network import Cameras
from refkp.systems.multiview.pictures.sessions import (
    LABEL,
    NUM_SKELETONS,
    REPROJECTED,
    error_picture,
    shown_picture,
    space_picture,
    view_axes,
)
from refkp.systems.multiview.session import Recording, chosen_track, observations

with named_extras():
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

#: A turntable: views in a row, side of each in pixels, its distance in lengths of the body, how high it looks from.
_TURNS, _SIDE, _AWAY, _HIGH = 6, 220, 2.2, 0.5
_FOCAL = 2.3  # in sides of the picture
_COLOUR = (120, 165, 215)


def fit_figures(
    recording: Recording, found: BodyFit, body: Body, track: str | None = None
) -> dict[str, Figure]:
    """File name without its ending -> figure: the body over the views at an instant and around, errors, in space."""
    names, rig = found.calibration.names, found.calibration.rig.to(torch.float64)
    best = int(torch.isfinite(found.uv).all(-1).sum((1, 2)).argmax())
    wide = body.to(dtype=torch.float64)
    pose = found.motion.pose().each(lambda part: part[best : best + 1])
    posed = pose_body(wide, pose)
    views = replace(recording, views=tuple(view for view in recording.views if view.name in names))
    pictures = [shown_picture(view, int(found.motion.frames[best])) for view in views.views]
    seen = observations(views, chosen_track(views, track))
    figure = view_axes(with_labels(views, seen, int(found.motion.frames[best]), pictures))
    projected = rig.project(torch.cat((posed.vertices[0], posed.joints[0])))
    uv, depth = (part.transpose(0, 1).numpy() for part in (projected.uv, projected.depth))
    for axis, *seen_there in zip(figure.axes, uv, depth, found.uv[best].numpy(), strict=True):
        draw_body(axis, body.faces.numpy(), *seen_there)
    chosen = np.linspace(0, len(found.joints) - 1, min(NUM_SKELETONS, len(found.joints))).astype(int)
    return {
        "body": figure,
        "turntable": turntable(wide, pose),
        "errors": error_picture(found.residual_px.numpy(), names, body.joint_names),
        "space": space_picture(found.joints[chosen].numpy(), body.bones, rig.centres().numpy()),
    }


def posed_figures(
    body: Body, motion: BodyMotion, images: Tensor, cameras: Cameras, names: Sequence[str]
) -> dict[str, Figure]:
    """File name without its ending -> figure: the body of the last frame over its views, and all around.

    Args:
        body: what moves.
        motion: of F frames.
        images: uint8 [V,3,S,S], the views of the last frame.
        cameras: of these views, in the frame of the motion.
        names: of the views.
    """
    last = motion.pose().each(lambda part: part[-1:].float())
    posed = pose_body(body, last)
    seen = project(torch.cat((posed.vertices, posed.joints), 1), *(part.float() for part in cameras))
    pictures = tuple(image.permute(1, 2, 0).numpy() for image in images)
    nothing = np.full((len(names), body.num_joints, 2), np.nan)
    sizes = ((images.shape[-1], images.shape[-2]),) * len(names)
    frame = SynchronisedFrame(int(motion.frames[-1]), tuple(names), pictures, sizes, nothing, nothing[..., 0])
    figure = view_axes(frame)
    for axis, uv, depth in zip(figure.axes, seen.uv.numpy(), seen.depth.numpy(), strict=True):
        draw_body(axis, body.faces.numpy(), uv, depth, nothing[0])
    return {"body": figure, "turntable": turntable(body, last)}


def draw_body(axis: Axes, faces: np.ndarray, uv: np.ndarray, depth: np.ndarray, labels: np.ndarray) -> None:
    """Draw a mesh into the picture of a view, its joints (crosses) and their labels (circles).

    Args:
        axis: with the picture.
        faces: int [F,3].
        uv, depth: [N+J,2] pixels and [N+J] of vertices and joints.
        labels: [J,2] pixels; NaN where missing.
    """
    far = depth[faces].mean(1)
    order = np.argsort(-far)
    near = (far.max() - far[order]) / max(float(np.ptp(far)), 1e-9)
    shades = np.stack((0.2 + 0.3 * near, 0.45 + 0.35 * near, 0.75 + 0.25 * near), -1)
    axis.add_collection(PolyCollection(uv[faces[order]], facecolors=shades, alpha=0.45, linewidths=0))
    axis.scatter(labels[:, 0], labels[:, 1], s=26, facecolors="none", edgecolors=LABEL, linewidths=1.2)
    joints = uv[-len(labels) :]
    axis.scatter(joints[:, 0], joints[:, 1], s=22, marker="x", c=REPROJECTED, linewidths=1)


def turntable(body: Body, pose: BodyPose) -> Figure:
    """One body in a pose as one walks around it, as if it stood where it rests (z up).

    Args:
        body: what is posed.
        pose: of one body, B = 1; where it is and how its root is turned does not count.
    """
    rotations = pose.rotations.clone()
    rotations[:, 0] = torch.eye(3).to(rotations)
    vertices = pose_body(body, pose._replace(rotations=rotations)).vertices[0].double()
    middle = (vertices.amax(0) + vertices.amin(0)) / 2
    shown = (vertices - middle) / (2 * (vertices - middle).norm(dim=1).max())
    colours = np.tile(np.array(_COLOUR, np.uint8), (len(shown), 1))
    renderer = MeshRenderer([Mesh(shown.numpy(), body.faces.numpy(), vertex_colours=colours)])
    K = np.array([[_FOCAL * _SIDE, 0, _SIDE / 2], [0, _FOCAL * _SIDE, _SIDE / 2], [0, 0, 1]])
    white = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    figure = Figure(figsize=(2 * _TURNS, 2), layout="constrained")
    for turn in range(_TURNS):
        angle = 2 * np.pi * turn / _TURNS
        place = _AWAY * np.array([np.cos(angle), np.sin(angle), _HIGH])
        cam_from_body = np.eye(4)
        cam_from_body[:3, :3] = looking_at(place, np.zeros(3))
        cam_from_body[:3, 3] = -cam_from_body[:3, :3] @ place
        seen = renderer.render(
            cam_from_body[None], K, (_SIDE, _SIDE), light=Light(), background=white, samples=2
        )
        axis = figure.add_subplot(1, _TURNS, turn + 1)
        axis.imshow(seen.rgb)
        axis.set_axis_off()
    return figure
