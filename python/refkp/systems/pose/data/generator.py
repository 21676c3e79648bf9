"""Training pictures from meshes: objects before made-up surroundings, in the format of the published sets.

    OUT/generator.json          what was asked for
    OUT/models/obj_000001.obj   the meshes in millimetres; models_info.json
    OUT/shards/shard-000000.tar the pictures

A picture follows from the seed and its number alone, whatever the number of processes. Source: spec pose 7.2.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from refkp._checks import fail
from refkp._files import write_json
from refkp._progress import progress_bar
from refkp.data.meshes import Mesh, save_mesh
from refkp.data.rendering import MeshRenderer, Rendering
from refkp.data.shapes import make_object
from refkp.systems.pose.crops import Box
from refkp.systems.pose.data.backgrounds import draw_background
from refkp.systems.pose.data.composition import Ball, Composition, compose, draw_light
from refkp.systems.pose.data.json_values import parse_json
from refkp.systems.pose.data.models import ModelSet, info_entry
from refkp.systems.pose.data.records import read_centres, visible_box
from refkp.systems.pose.data.shard_writer import ShardWriter
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.scene import Instance, PictureKey, Scene

Array = NDArray[np.float64]

_REQUEST = "generator.json"
_VERSION = 1  # of the pictures: raise it when the same request gives others
_OCCLUDERS = ("box", "blob", "t_block")
_OCCLUDER_SEED = 1 << 20  # far from the seeds of objects, so that no occluder is an object without label


def generate_scenes(
    models: Mapping[int, Mesh], out: Path | str, spec: GeneratorSpec, *, seed: int = 0, workers: int = 1
) -> Path:
    """Render pictures of the models into shards, and write the models beside them.

    Shards are whole or not there; after an interruption the same call goes on with those that are missing.

    Args:
        models: object id -> mesh in millimetres.
        out: folder for it all.
        spec: what the pictures show.
        seed: of everything random.
        workers: processes; 1 renders in this one. More are spawned, so a script needs the usual
            `if __name__ == "__main__":`.

    Returns:
        The folder of the shards, for `ShardReader`.

    Raises:
        ValueError: no model, or `out` holds pictures of another request.
    """
    if not models:
        fail("generate_scenes", "models", "at least one mesh", "none")
    if workers < 1:
        fail("generate_scenes", "workers", "at least 1", workers)
    out = Path(out)
    _claim(out, models, spec, seed)
    _write_models(models, out)
    writer = _writer(out, spec)
    for unfinished in writer.folder.glob(".shard-*"):
        unfinished.unlink()
    count = -(-spec.num_scenes // spec.scenes_per_shard)
    missing = [number for number in range(count) if not writer.path(number).is_file()]
    for _ in progress_bar(_rendered(out, spec, seed, missing, workers), "rendering pictures", len(missing)):
        pass
    writer.write_key_table()
    return writer.folder


def render_scene(studio: Studio, spec: GeneratorSpec, seed: int, number: int) -> Scene:
    """Picture `number` of a request."""
    rng = np.random.default_rng([seed, number])
    composition = compose(rng, spec, studio.objects, studio.occluders)
    rendering = studio.renderer.render(
        composition.cam_from_obj,
        spec.K,
        spec.size,
        which=composition.which,
        light=draw_light(rng),
        background=draw_background(rng, spec.size),
        samples=spec.samples,
    )
    rgb = _with_noise(rng, rendering.rgb, spec.noise)
    instances = tuple(
        _instance(studio, spec, composition, rendering, index) for index in range(composition.num_objects)
    )
    return Scene(
        PictureKey(number, 0),
        torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))),
        torch.from_numpy(rendering.depth),
        torch.from_numpy(spec.K),
        instances,
    )


class Studio(NamedTuple):
    """Everything that pictures of one request share."""

    obj_ids: tuple[int, ...]
    objects: tuple[Ball, ...]
    occluders: tuple[Ball, ...]
    vertices: tuple[Array, ...]  # [V,3] of each object
    renderer: MeshRenderer  # of objects, then occluders
    alone: tuple[MeshRenderer, ...]  # of each object


def open_studio(models: ModelSet, seed: int, *, occluded: bool) -> Studio:
    """Load the models of a set, and make the occluders if there are to be any."""
    meshes = [models.mesh(obj_id) for obj_id in models.obj_ids]
    others = _occluders(seed) if occluded else ()
    return Studio(
        models.obj_ids,
        tuple(Ball.of(mesh) for mesh in meshes),
        tuple(Ball.of(mesh) for mesh in others),
        tuple(mesh.vertices for mesh in meshes),
        MeshRenderer([*meshes, *others]),
        tuple(MeshRenderer([mesh]) for mesh in meshes),
    )


@functools.lru_cache(maxsize=1)
def _occluders(seed: int) -> tuple[Mesh, ...]:
    return tuple(make_object(kind, seed=_OCCLUDER_SEED + seed) for kind in _OCCLUDERS)


def _claim(out: Path, models: Mapping[int, Mesh], spec: GeneratorSpec, seed: int) -> None:
    """Write what is asked for, or find it there."""
    digests = {str(obj_id): mesh.digest for obj_id, mesh in sorted(models.items())}
    request = {"version": _VERSION, "seed": seed, "spec": asdict(spec), "models": digests}
    request = json.loads(json.dumps(request))  # tuples as lists, as they are read
    path = out / _REQUEST
    if path.is_file():
        there = parse_json(path.read_bytes(), str(path))
        if there != request:
            differ = sorted(name for name in request if there.get(name) != request[name])
            remedy = "Choose another folder, or remove this one."
            fail("generate_scenes", "out", "a new folder, or one of the same request",
                 f"{str(out)!r}, which differs in {', '.join(differ)}", remedy)  # fmt: skip
    elif out.is_dir() and any(out.iterdir()):
        fail("generate_scenes", "out", "an empty or new folder", repr(str(out)), "It holds other files.")
    write_json(path, request)


def object_digests(out: Path | str) -> dict[int, str]:
    """Object id -> SHA-256 of its mesh, of pictures that `generate_scenes` made in `out`."""
    path = Path(out) / _REQUEST
    return {
        int(obj_id): digest for obj_id, digest in parse_json(path.read_bytes(), str(path))["models"].items()
    }


def _write_models(models: Mapping[int, Mesh], out: Path) -> None:
    """The meshes and, last, the table that makes them complete."""
    folder = out / "models"
    table = folder / "models_info.json"
    if table.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for obj_id, mesh in models.items():
        save_mesh(mesh, folder / f"obj_{obj_id:06d}.obj")
    entries = {str(obj_id): info_entry(mesh) for obj_id, mesh in sorted(models.items())}
    write_json(table, entries)


def _rendered(out: Path, spec: GeneratorSpec, seed: int, numbers: list[int], workers: int) -> Iterator[int]:
    """Render shards, here or in processes, and tell each that is done."""
    if min(workers, len(numbers)) <= 1:
        for number in numbers:
            yield _render_shard(out, spec, seed, number)
        return
    context = multiprocessing.get_context("spawn")  # threads of torch and OpenCV do not survive a fork
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(_render_shard, out, spec, seed, number) for number in numbers]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _render_shard(out: Path, spec: GeneratorSpec, seed: int, number: int) -> int:
    """Pictures are always of the meshes as written, so that a reader's meshes are those of the pictures."""
    studio = _studio_of(out, seed, spec.max_occluders > 0)
    first = number * spec.scenes_per_shard
    scenes = range(first, min(first + spec.scenes_per_shard, spec.num_scenes))
    _writer(out, spec).write(number, (render_scene(studio, spec, seed, scene) for scene in scenes))
    return number


@functools.lru_cache(maxsize=1)
def _studio_of(out: Path, seed: int, occluded: bool) -> Studio:
    return open_studio(ModelSet(out), seed, occluded=occluded)


def _writer(out: Path, spec: GeneratorSpec) -> ShardWriter:
    centres = read_centres(out)
    return ShardWriter(
        out / "shards", spec.depth_scale, spec.image_format, compressed_masks=True, centres=centres
    )


def _instance(
    studio: Studio, spec: GeneratorSpec, composition: Composition, rendering: Rendering, index: int
) -> Instance:
    """The label of an object; its size without occlusion counts pixels outside of the picture too."""
    mask = torch.from_numpy(rendering.instance == index)
    object_index, pose = composition.which[index], composition.cam_from_obj[index]
    window = _window(studio.vertices[object_index], pose, spec.K)
    K = spec.K - np.array([[0, 0, window[0]], [0, 0, window[1]], [0, 0, 0]])
    size = (window[3] - window[1], window[2] - window[0])
    alone = torch.from_numpy(studio.alone[object_index].render_depth(pose[None], K, size) > 0)
    x0, y0, x1, y1 = visible_box(alone)
    full_box = (x0 + window[0], y0 + window[1], x1 + window[0], y1 + window[1])
    # Rounding of rays may move a border pixel, and a far object may cover none.
    visible = min(1.0, int(mask.sum()) / max(1, int(alone.sum())))
    cam_from_obj = torch.from_numpy(pose.copy())
    return Instance(studio.obj_ids[object_index], cam_from_obj, mask, visible_box(mask), visible, full_box)


def _window(vertices: Array, pose: Array, K: Array) -> Box:
    """Whole pixels around all that an object covers: its silhouette lies between its vertices."""
    points = (vertices @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    pixels = points[:, :2] / points[:, 2:]
    low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
    return int(low[0]), int(low[1]), max(int(high[0]), int(low[0]) + 1), max(int(high[1]), int(low[1]) + 1)


def _with_noise(rng: np.random.Generator, rgb: NDArray[np.uint8], largest: float) -> NDArray[np.uint8]:
    """Gaussian noise of a strength of its own in each picture."""
    noise = rng.normal(0, 255 * rng.uniform(0, largest), rgb.shape) if largest else 0.0
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
