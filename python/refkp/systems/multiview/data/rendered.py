"""Samples of a body made by rendering it: pictures, labels, cameras, points, pose and shape, all known exactly."""

from __future__ import annotations

import colorsys
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp._files import whole_file
from refkp._progress import progress_bar
from refkp.data.images import encode_rgb
from refkp.data.meshes import Mesh
from refkp.data.rendering import Light, MeshRenderer
from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, pose_body
from refkp.systems.multiview.crops import yx_from_pixels
from refkp.systems.multiview.data.floor import floor_picture, tile_colours
from refkp.systems.multiview.data.rig import looking_at, ring
from refkp.systems.multiview.data.sample_spec import SampleSpec
from refkp.systems.multiview.preprocessing.processes import begin_worker
from refkp.systems.multiview.store.schema import Dimensions
from refkp.systems.multiview.store.writing import StoreWriter, complete_rows

#: Rays for each pixel along either axis.
_RAYS = 2
#: In lengths of the body: the side of a tile of the floor, and how far the floor is below the root.
_TILE, _STANDS = 0.6, 0.45


class Animal(NamedTuple):
    """Samples of one animal: rows of the file's fields, and pictures."""

    rows: dict[str, np.ndarray]
    jpegs: list[list[bytes]]


class _Scene(NamedTuple):
    """n poses of one animal and n rigs, millimetres."""

    axis_angle: Tensor  # float64 [n,J,3]
    pose: BodyPose
    vertices: Tensor  # float64 [n,N,3]
    joints: Tensor  # float64 [n,J,3]
    K: Tensor  # float64 [V,3,3]
    R: Tensor  # float64 [n,V,3,3]
    t: Tensor  # float64 [n,V,3]


def render_samples(path: Path | str, body: Body, spec: SampleSpec, seed: int = 0, workers: int = 1) -> int:
    """Write a file of samples of a body, as `refkp multiview preprocess` writes them, with pose and shape.

    The same seed gives the same file, whatever the number of workers; an animal depends on the seed and its number.

    Returns:
        The number of samples.
    """
    if seed < 0:
        fail("render_samples", "seed", "at least 0", seed)
    names = tuple(f"cam{view}" for view in range(spec.num_views))
    dimensions = Dimensions(spec.num_views, body.num_joints, body.num_betas)
    count = spec.num_animals * spec.num_poses
    with whole_file(path) as unfinished, StoreWriter(unfinished, dimensions, count) as writer:
        for animal in progress_bar(_animals(body, spec, seed, workers), "rendering", spec.num_animals):
            writer.append(complete_rows(animal.rows, names, dimensions), animal.jpegs)
        writer.describe(_attributes(body, spec, names, seed))
    return count


def render_animal(number: int, body: Body, spec: SampleSpec, seed: int) -> Animal:
    """The samples of animal `number`: what it draws depends on it and the seed alone."""
    rng = np.random.default_rng((seed, number))
    scene = _drawn(body, spec, rng, np.random.default_rng((seed, 2**31)))
    uv = project(scene.joints[:, None], scene.K, scene.R, scene.t).uv.float()
    uv += torch.from_numpy(rng.normal(scale=spec.noise_px, size=uv.shape)).float()
    size = torch.tensor([spec.size] * 2)
    inside = ((uv >= 0) & (uv <= spec.size)).all(-1)
    colours = _colours(body, rng)
    tiles = tile_colours(np.random.default_rng((seed, 2**31 + 1)))
    jpegs = [_pictures(body, scene, index, spec, colours, tiles, rng) for index in range(spec.num_poses)]
    return Animal(_rows(body, spec, scene, yx_from_pixels(uv, size), inside, number), jpegs)


def _animals(body: Body, spec: SampleSpec, seed: int, workers: int) -> Iterator[Animal]:
    make = partial(render_animal, body=body, spec=spec, seed=seed)
    numbers = range(spec.first_animal, spec.first_animal + spec.num_animals)
    if workers <= 1:
        yield from map(make, numbers)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker) as pool:
        yield from pool.map(make, numbers)


def _drawn(body: Body, spec: SampleSpec, rng: np.random.Generator, rig_rng: np.random.Generator) -> _Scene:
    count, wide = spec.num_poses, body.to(dtype=torch.float64)
    unit = spec.body_length / body.length
    size = unit * float(np.exp(rng.normal(scale=spec.size_sigma)))
    betas = torch.from_numpy(rng.normal(scale=spec.shape_sigma, size=body.num_betas)).expand(count, -1)
    axis_angle = _random_pose(body, spec, rng)
    place = np.concatenate((rng.normal(scale=spec.place_sigma, size=(count, 2)), np.zeros((count, 1))), 1)
    pose = BodyPose(
        axis_angle_to_matrix(axis_angle),
        torch.from_numpy(place * spec.body_length),
        betas,
        size=torch.full((count, 1), size, dtype=torch.float64),
    )
    posed = pose_body(wide, pose)
    K, R, t = _rigs(spec, rng, rig_rng)
    return _Scene(axis_angle, pose, posed.vertices, posed.joints, K, R, t)


def _random_pose(body: Body, spec: SampleSpec, rng: np.random.Generator) -> Tensor:
    """Axis-angle float64 [n,J,3]; joints that nothing hangs on stay at rest."""
    axis_angle = rng.normal(scale=np.radians(spec.joint_sigma_deg), size=(spec.num_poses, body.num_joints, 3))
    if body.limits is not None:
        angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
        axis_angle *= np.minimum(1, body.limits.numpy()[:, None] / np.maximum(angle, 1e-12))
    leaves = [joint for joint in range(body.num_joints) if joint not in body.parents]
    axis_angle[:, leaves] = 0
    tilt = rng.normal(scale=np.radians(spec.tilt_sigma_deg), size=(spec.num_poses, 3)) * (1, 1, 0)
    yaw = rng.uniform(-np.pi, np.pi, (spec.num_poses, 1)) * np.array([0.0, 0.0, 1.0])
    turned = axis_angle_to_matrix(torch.from_numpy(yaw)) @ axis_angle_to_matrix(torch.from_numpy(tilt))
    axis_angle[:, 0] = matrix_to_axis_angle(turned).numpy()
    return torch.from_numpy(axis_angle)


def _rigs(
    spec: SampleSpec, rng: np.random.Generator, rig_rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """K [V,3,3], and R, t of n rigs near the mean one, which `rig_rng` draws."""
    places = ring(spec.num_views, spec.distance * spec.body_length, rig_rng)
    focal = spec.size * 1.3 * rig_rng.uniform(0.95, 1.05, spec.num_views)
    K = np.zeros((spec.num_views, 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2], K[:, 2, 2] = spec.size / 2, 1
    mean = np.stack([looking_at(place, np.zeros(3)) for place in places])
    shape = (spec.num_poses, spec.num_views, 3)
    turn = axis_angle_to_matrix(
        torch.from_numpy(rng.normal(scale=np.radians(spec.rig_sigma_deg), size=shape))
    ).numpy()
    R = turn @ mean
    length = np.linalg.norm(places, axis=-1)[:, None]
    centres = places + rng.normal(scale=spec.rig_sigma, size=shape) * length
    return tuple(torch.from_numpy(part) for part in (K, R, -(R @ centres[..., None])[..., 0]))  # type: ignore[return-value]


def _colours(body: Body, rng: np.random.Generator) -> np.ndarray:
    """uint8 [N,3]: a hue for every joint, which is the same in all animals, at the brightness of this one."""
    joint = body.weights.argmax(1).numpy()
    shades = rng.uniform(0.75, 1.0, (body.num_joints, 1))
    hues = np.array([colorsys.hsv_to_rgb(j * 0.381966 % 1, 0.55, 1.0) for j in range(body.num_joints)])
    return np.round(255 * (hues * shades)[joint]).astype(np.uint8)


def _pictures(
    body: Body,
    scene: _Scene,
    index: int,
    spec: SampleSpec,
    colours: np.ndarray,
    tiles: np.ndarray,
    rng: np.random.Generator,
) -> list[bytes]:
    vertices = scene.vertices[index].numpy()
    renderer = MeshRenderer([Mesh(vertices, body.faces.numpy(), vertex_colours=colours)])
    lamp, light = rng.normal(size=3) * (0.5, 0.5, 0) + (0, 0, -1), rng.uniform(0.7, 1.3)
    lowest = -_STANDS * spec.body_length
    jpegs = []
    for view in range(spec.num_views):
        cam_from_world = np.eye(4)
        K, R, t = scene.K[view].numpy(), scene.R[index, view].numpy(), scene.t[index, view].numpy()
        floor = floor_picture(K, R, t, spec.size, light * tiles, _TILE * spec.body_length, lowest)
        cam_from_world[:3, :3], cam_from_world[:3, 3] = R, t
        seen = renderer.render(
            cam_from_world[None],
            K,
            (spec.size, spec.size),
            light=Light(direction=tuple(lamp)),
            background=floor,
            samples=_RAYS,
        )
        jpegs.append(encode_rgb(torch.from_numpy(seen.rgb).permute(2, 0, 1), ".jpg"))
    return jpegs


def _rows(
    body: Body, spec: SampleSpec, scene: _Scene, keypoints: Tensor, inside: Tensor, number: int
) -> dict[str, np.ndarray]:
    """The fields of the schema."""
    count, views = spec.num_poses, spec.num_views
    ones = np.ones((count, views), dtype=bool)
    return {
        "view_mask": ones,
        "has_camera": ones,
        "keypoints_2d": keypoints.numpy(),
        "keypoint_visibility": inside.float().numpy(),
        "camera_intrinsics": scene.K.expand(count, -1, -1, -1).numpy(),
        "camera_extrinsics_R": scene.R.numpy(),
        "camera_extrinsics_t": scene.t.numpy(),
        "crop_affine": np.tile(np.eye(2, 3), (count, views, 1, 1)),
        "image_sizes": np.full((count, views, 2), spec.size),
        "raw_image_size": np.full((count, views, 2), spec.size),
        "keypoints_3d": scene.joints.numpy(),
        "keypoints_3d_valid": np.ones((count, body.num_joints), dtype=bool),
        "has_3d_data": np.ones(count, dtype=bool),
        "global_rot": scene.axis_angle[:, 0].numpy(),
        "joint_rot": scene.axis_angle.numpy(),
        "trans": scene.pose.trans.numpy(),
        "betas": scene.pose.betas.numpy() if scene.pose.betas is not None else np.zeros((count, 0)),
        "has_ground_truth_pose": np.ones(count, dtype=bool),
        "has_ground_truth_betas": np.ones(count, dtype=bool),
        "session_name": np.full(count, f"animal{number:04d}", dtype=object),
        "frame_idx": np.arange(count),
    }


def _attributes(body: Body, spec: SampleSpec, names: tuple[str, ...], seed: int) -> dict[str, Any]:
    return {
        "num_samples": spec.num_animals * spec.num_poses,
        "max_views": len(names),
        "canonical_camera_order": json.dumps(list(names)),
        "n_joints": body.num_joints,
        "joint_names": json.dumps(list(body.joint_names)),
        "keypoints_3d_joint_order": "joint_names",
        "n_pose": body.num_joints - 1,
        "n_betas": body.num_betas,
        "target_resolution": spec.size,
        "pixel_convention": "edge",
        "crop_mode": "whole",
        "has_camera_parameters": True,
        "has_3d_keypoints": True,
        "undistort_images": True,
        "world_unit": "mm",
        "world_scale": 0.001,
        "seed": seed,
    }
