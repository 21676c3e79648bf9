"""Made-up sessions: what cameras would see of an animal that walks, in the files that Anipose and SLEAP write.

`generated.json` in such a session says how it was made, and that it may be made again.

Everything is exact but the labels, whose noise, gaps and outliers the spec chooses: reading, checking, calibrating and
triangulating are judged by the points that were there.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import whole_file, whole_folder, write_json
from refkp.geometry.rig import Rig
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly
from refkp.systems.multiview.body.species import load_body
from refkp.systems.multiview.calibration import PIXEL_CENTRE, Calibration, write_calibration
from refkp.systems.multiview.data.animal import walk
from refkp.systems.multiview.data.rig import looking_at
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.reading.points import write_points

with named_extras():
    import cv2
    import h5py

FPS = 30.0
#: What a made-up session is known by.
GENERATED = "generated.json"


class MadeUpSession(NamedTuple):
    """What is true of a made-up session."""

    calibration: Calibration
    points: np.ndarray  # float64 [F,J,3], millimetres
    labels: np.ndarray  # float64 [F,V,J,2] pixels; NaN where missing
    body: Body
    pose: BodyPose  # of the body in every frame, float64


def make_session(spec: SessionSpec, seed: int = 0) -> MadeUpSession:
    """The cameras, points and labels of a session, without writing them."""
    if seed < 0:
        fail("make_session", "seed", "at least 0", seed)
    rng = np.random.default_rng(seed)
    calibration = _ring(spec, rng)
    body = load_body(spec.body)
    pose = walk(body, spec.num_frames, spec.body_length, FPS, rng)
    betas = (
        rng.normal(scale=spec.shape_sigma, size=body.num_betas)
        if spec.shape_sigma
        else np.zeros(body.num_betas)
    )
    pose = pose._replace(betas=torch.from_numpy(betas).expand(spec.num_frames, -1))
    points = JointsOnly(body.to(dtype=torch.float64))(pose).numpy()
    labels = calibration.rig.project(torch.from_numpy(points)).uv.permute(0, 2, 1, 3).numpy().copy()
    labels += rng.normal(scale=spec.noise_px, size=labels.shape)
    height, width = spec.size
    outlier = rng.random(labels.shape[:-1]) < spec.outliers
    labels[outlier] = rng.uniform((0, 0), (width, height), (int(outlier.sum()), 2))
    outside = ((labels < 0) | (labels > (width, height))).any(-1)
    labels[outside | (rng.random(labels.shape[:-1]) < spec.missing)] = np.nan
    return MadeUpSession(calibration, points, labels, body, pose)


def generate_session(folder: Path | str, spec: SessionSpec, seed: int = 0) -> MadeUpSession:
    """Write a session: `calibration.toml`, `points3d.h5`, and a folder with labels and a video for each view.

    Raises:
        ValueError: the folder holds something that this function did not write.
    """
    _require_own(Path(folder))
    session = make_session(spec, seed)
    with whole_folder(folder) as unfinished:
        write_session(unfinished, session, spec)
        write_json(unfinished / GENERATED, {"spec": asdict(spec), "seed": seed})
    return session


def _require_own(folder: Path) -> None:
    """A folder is replaced as a whole, so it must not be another's."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / GENERATED).is_file():
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:5])
        rule = f"a new folder, or a made-up session to replace, one with {GENERATED}"
        fail("generate_session", "folder", rule, f"{str(folder)!r} with {names}", "Give another.")


def write_session(folder: Path, session: MadeUpSession, spec: SessionSpec) -> None:
    """Write the files of a session into a folder."""
    write_calibration(folder / "calibration.toml", session.calibration)
    write_points(folder / "points3d.h5", session.points[:, None], 0)
    for index, name in enumerate(session.calibration.names):
        view = folder / name
        view.mkdir()
        write_analysis(view / f"{name}.analysis.h5", session.labels[:, index], session.body, f"{name}.avi")
        if spec.with_videos:
            _write_video(view / f"{name}.avi", session, index, spec)


def _ring(spec: SessionSpec, rng: np.random.Generator) -> Calibration:
    """Cameras around the arena that look at its middle, each a little otherwise."""
    height, width = spec.size
    names, cameras = [], []
    for index in range(spec.num_views):
        azimuth = 2 * np.pi * (index + rng.uniform(-0.2, 0.2)) / spec.num_views
        elevation = np.radians(rng.uniform(25, 60))
        distance = spec.body_length * rng.uniform(5.5, 7)
        level = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(elevation)
        centre = distance * np.array([*level, np.sin(elevation)])
        R = looking_at(centre, spec.body_length * rng.uniform(-0.15, 0.15, 3))
        focal = 1.15 * min(spec.size) * rng.uniform(0.95, 1.05)
        shift = rng.uniform(-0.02, 0.02, 2) * width
        K = np.array([[focal, 0, width / 2 + shift[0]], [0, focal, height / 2 + shift[1]], [0, 0, 1]])
        distortion = np.array([spec.k1 * rng.uniform(0.8, 1.2), 0, 0, 0, 0])
        names.append(f"cam{index}")
        cameras.append((K, distortion, R, -R @ centre))
    rig = Rig(*(torch.from_numpy(np.stack(column)) for column in zip(*cameras, strict=True)))
    return Calibration(tuple(names), rig, torch.tensor([[width, height]] * spec.num_views))


def write_analysis(path: Path, labels: np.ndarray, body: Body, video: str) -> None:
    """Write the labels [F,J,2] of one animal, joints of a body, as SLEAP's analysis files have them."""
    found = np.isfinite(labels).all(-1)
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        file["tracks"] = np.transpose(labels - PIXEL_CENTRE, (2, 1, 0))[None]
        file["point_scores"] = np.where(found, 0.9, 0.0).T[None]
        file["instance_scores"] = np.full((1, len(labels)), 0.9)
        file["tracking_scores"] = np.full((1, len(labels)), np.nan)
        file["track_occupancy"] = found.any(1).astype(np.uint8)[:, None]
        file["node_names"] = np.array(body.joint_names, dtype="S")
        file["track_names"] = np.array(["animal"], dtype="S")
        file["edge_inds"] = np.array(body.bones)
        file["video_path"] = video


def _write_video(path: Path, session: MadeUpSession, view: int, spec: SessionSpec) -> None:
    height, width = spec.size
    rig = session.calibration.rig.select([view])
    bodies = rig.project(torch.from_numpy(session.points)).uv[..., 0, :].numpy()
    floor = _floor(rig, spec)
    with whole_file(path) as unfinished:
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (width, height))
        try:
            for body in bodies:
                writer.write(_drawn(floor.copy(), body - PIXEL_CENTRE, session.body.bones))
        finally:
            writer.release()


def _floor(rig: Rig, spec: SessionSpec) -> np.ndarray:
    """The empty arena: lines on the floor, uint8 [H,W,3]."""
    picture = np.full((*spec.size, 3), 40, dtype=np.uint8)
    reach = 2.4 * spec.body_length
    along = np.linspace(-reach, reach, 97)
    for place in np.linspace(-reach, reach, 9):
        for line in (
            np.stack((along, np.full(97, place), np.zeros(97)), -1),
            np.stack((np.full(97, place), along, np.zeros(97)), -1),
        ):
            seen = rig.project(torch.from_numpy(line))
            pixels = seen.uv[:, 0].numpy()[seen.valid[:, 0].numpy()]
            if len(pixels):
                cv2.polylines(
                    picture, [_fixed(pixels - PIXEL_CENTRE)], False, (90, 80, 70), 1, cv2.LINE_AA, 4
                )
    return picture


def _drawn(picture: np.ndarray, body: np.ndarray, bones: list[tuple[int, int]]) -> np.ndarray:
    """The animal [J,2] over a picture: bones as strokes, joints as dots of their own colours."""
    scale = max(2, picture.shape[0] // 100)
    for bone in bones:
        ends = _fixed(body[list(bone)])
        cv2.line(picture, ends[0].tolist(), ends[1].tolist(), (150, 170, 190), scale, cv2.LINE_AA, 4)
    for index, joint in enumerate(_fixed(body)):
        hue = np.array([[[index * 180 // len(body), 200, 255]]], dtype=np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        cv2.circle(picture, joint.tolist(), scale * 16, colour, -1, cv2.LINE_AA, 4)
    return picture


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels in sixteenths, as OpenCV draws between them."""
    return np.round(np.clip(pixels, -1e4, 1e4) * 16).astype(np.int32)
