"""Folders of the BOP challenge: scenes with their ground truth, and the list of what is to be found.

    ROOT/SPLIT/000001/{rgb,gray,depth,mask_visib}/...   rgb/000000.png, mask_visib/000000_000000.png; or .jpg, .tif
    ROOT/SPLIT/000001/scene_{camera,gt,gt_info}.json    one entry per picture
    ROOT/test_targets_bop19.json                        what the challenge asks for; since 2024 pictures alone

Source: spec pose 7.1, and the challenge's description of its format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refkp._checks import fail
from refkp.data.images import decode_depth, decode_mask_picture, read_bytes, read_rgb
from refkp.systems.pose.data.intrinsics import parse_intrinsics
from refkp.systems.pose.data.json_values import list_in, parse_json, table_in, whole_in
from refkp.systems.pose.data.records import (
    Annotation,
    build_instance,
    check_scene,
    num_inexact,
    parse_annotations,
    parse_depth_scale,
    parse_full_box,
    parse_pose,
    read_centres,
    warn_of_inexact,
)
from refkp.systems.pose.scene import Instance, PictureKey, Scene

_SUFFIXES = (".png", ".jpg", ".tif", ".jpeg", ".tiff")


class Target(NamedTuple):
    """Find `num_instances` of an object in a picture; without numbers, whatever of the data set is in it."""

    picture: PictureKey
    obj_id: int | None
    num_instances: int | None


def read_targets(path: Path | str) -> tuple[Target, ...]:
    """The targets of a `test_targets_*.json`, in its order.

    Those of 2019 name an object and how often it is there; those of 2024, which ask for detection, pictures alone.

    Raises:
        ValueError: the file cannot be read, or an entry names no picture, or an object without its number.
    """
    entries = list_in(parse_json(read_bytes(path), str(path)), f"read_targets: {path}")
    return tuple(_target(entry, f"{path}, entry {number}") for number, entry in enumerate(entries))


def _target(entry: Any, where: str) -> Target:
    table = entry if isinstance(entry, dict) else {}
    names = ["scene_id", "im_id", *(("obj_id", "inst_count") if "obj_id" in table else ())]
    if any(name not in table for name in names):
        rule = "a target with scene_id and im_id, and obj_id with inst_count or neither"
        fail("read_targets", where, rule, entry, "Fetch the targets of the data set again.")
    scene_id, image_id, *rest = (whole_in(entry[name], f"{where}: `{name}`") for name in names)
    return Target(PictureKey(scene_id, image_id), *(rest or (None, None)))


class _Folder(NamedTuple):
    """The tables of one scene folder."""

    path: Path
    tables: dict[str, dict[str, Any]]  # "camera", "gt", "gt_info"

    def key(self, image: int) -> PictureKey:
        """Of a picture in the folder."""
        return PictureKey(int(self.path.name), image)


class BopReader:
    """The pictures of a split, sorted by scene and picture (a `SceneSource`).

    Args:
        root: folder of the data set.
        split: folder below it, e.g. "test" or "train_pbr".
        targets: keep only the pictures that these ask for.
        ground_truth: read instances; False for test sets whose poses are not public.

    Attributes:
        keys: of the pictures.

    Raises:
        ValueError: no scene there, or a scene without its tables.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        targets: tuple[Target, ...] | None = None,
        ground_truth: bool = True,
    ) -> None:
        self.root, self.split = Path(root), split
        self._centres = read_centres(self.root)
        paths = sorted(path for path in (self.root / split).glob("[0-9]*") if path.is_dir())
        wanted = None if targets is None else {target.picture for target in targets}
        tables = ("camera", "gt", "gt_info") if ground_truth else ("camera",)
        self._places: list[tuple[_Folder, int]] = []
        for path in paths:
            folder = _Folder(path, {name: _read_table(path, name) for name in tables})
            cameras = f"{path}/scene_camera.json: the number of a picture"
            images = sorted(whole_in(image, cameras) for image in folder.tables["camera"])
            self._places += [
                (folder, image) for image in images if wanted is None or folder.key(image) in wanted
            ]
        if not self._places:
            place = str(self.root / split)
            fail("BopReader", "root", "a data set with pictures in folders 000000, 000001 ...", repr(place))
        self.keys: Sequence[PictureKey] = [folder.key(image) for folder, image in self._places]
        poses = [pose for place in self._places for pose in _poses(*place)]
        warn_of_inexact(f"BopReader({str(self.root / split)!r})", num_inexact(poses), len(poses))

    def __len__(self) -> int:
        return len(self.keys)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """Object and visibility of the instances of a picture."""
        folder, image = self._places[index]
        if "gt" not in folder.tables:
            return ()
        gt, gt_info = (_entry(folder, name, image) for name in ("gt", "gt_info"))
        return parse_annotations(gt, gt_info, f"{folder.path}: picture {image}")

    def __getitem__(self, index: int) -> Scene:
        """Read and decode a picture; see `refkp.systems.pose.data.records` for what is checked."""
        folder, image = self._places[index]
        where = f"{folder.path}: picture {image}"
        rgb = read_rgb(self.picture_path(index))
        camera = _entry(folder, "camera", image)
        K = parse_intrinsics(camera, (rgb.shape[1], rgb.shape[2]), where, source=str(folder.path))
        depth, depth_path = None, _find(folder.path / "depth", f"{image:06d}")
        if depth_path is not None:
            depth = decode_depth(read_bytes(depth_path), parse_depth_scale(camera, where), str(depth_path))
        instances = tuple(
            _instance(folder, image, number, annotation)
            for number, annotation in enumerate(self.annotations(index))
        )
        return check_scene(Scene(self.keys[index], rgb, depth, K, instances), where, self._centres)

    def files(self, scenes: Iterable[int]) -> set[Path]:
        """The pictures of these scenes."""
        return {self.picture_path(number) for number in scenes}

    def picture_path(self, index: int) -> Path:
        """The colour picture, or the grey one of a data set without colour."""
        folder, image = self._places[index]
        for kind in ("rgb", "gray"):
            found = _find(folder.path / kind, f"{image:06d}")
            if found is not None:
                return found
        looked_for = f"rgb/{image:06d} and gray/{image:06d} with {', '.join(_SUFFIXES)}"
        raise ValueError(f"BopReader: picture {image} of {folder.path} is missing; looked for {looked_for}.")


def _find(folder: Path, stem: str) -> Path | None:
    """The picture of a name, in whichever format; None if there is none."""
    paths = (folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _poses(folder: _Folder, image: int) -> list[Any]:
    """The poses of a picture as they stand in the file; none where that is broken, which reading it tells."""
    poses = folder.tables.get("gt", {}).get(str(image), [])
    return [pose for pose in poses if isinstance(pose, dict)] if isinstance(poses, list) else []


def _instance(folder: _Folder, image: int, number: int, annotation: Annotation) -> Instance:
    stem = f"{image:06d}_{number:06d}"
    path = _find(folder.path / "mask_visib", stem)
    if path is None:
        place = folder.path / "mask_visib" / f"{stem}.png"
        raise ValueError(f"BopReader: {place} is missing. Fetch the masks of the data set too.")
    where = f"{folder.path}/scene_gt.json, picture {image}, instance {number}"
    pose = parse_pose(_entry(folder, "gt", image)[number], where)
    full_box = parse_full_box(_entry(folder, "gt_info", image)[number], f"{folder.path}/scene_gt_info.json")
    mask = decode_mask_picture(read_bytes(path), str(path))
    return build_instance(annotation, pose, mask, full_box, str(path))


def _read_table(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"scene_{name}.json"
    if not path.is_file():
        remedy = "Fetch it, or read with `ground_truth` False." if name != "camera" else "Fetch it."
        raise ValueError(f"BopReader: {path} is missing. {remedy}")
    return table_in(parse_json(path.read_bytes(), str(path)), str(path))


def _entry(folder: _Folder, name: str, image: int) -> Any:
    table = folder.tables[name]
    if str(image) not in table:
        raise ValueError(f"BopReader: {folder.path}/scene_{name}.json has no picture {image}.")
    return table[str(image)]
