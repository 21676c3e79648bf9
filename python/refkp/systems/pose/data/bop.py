"""Folders of the BOP challenge: scenes with their ground truth, and the list of what is to be found.

    ROOT/SPLIT/000001/{rgb,gray,depth,mask_visib}/...   rgb/000000.png, mask_visib/000000_000000.png
    ROOT/SPLIT/000001/scene_{camera,gt,gt_info}.json    one entry per picture
    ROOT/test_targets_bop19.json                        what the challenge asks for

Source: spec pose 7.1, and the challenge's description of its format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refkp._checks import fail
from refkp.data.images import decode_depth, decode_mask_picture, decode_rgb
from refkp.systems.pose.data.records import (
    Annotation,
    build_instance,
    check_scene,
    parse_annotations,
    parse_camera,
    parse_full_box,
    parse_json,
    parse_pose,
    read_centres,
)
from refkp.systems.pose.scene import Instance, PictureKey, Scene

_PICTURE_SUFFIXES = (".png", ".jpg", ".tif")


class Target(NamedTuple):
    """Find `num_instances` of an object in a picture."""

    picture: PictureKey
    obj_id: int
    num_instances: int


def read_targets(path: Path | str) -> tuple[Target, ...]:
    """The targets of a `test_targets_*.json`, in its order."""
    entries = parse_json(Path(path).read_bytes(), str(path))
    return tuple(
        Target(PictureKey(entry["scene_id"], entry["im_id"]), entry["obj_id"], entry["inst_count"])
        for entry in entries
    )


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
        names = ("camera", "gt", "gt_info") if ground_truth else ("camera",)
        self._places: list[tuple[_Folder, int]] = []
        for path in paths:
            folder = _Folder(path, {name: _read_table(path, name) for name in names})
            images = sorted(int(image) for image in folder.tables["camera"])
            self._places += [
                (folder, image) for image in images if wanted is None or folder.key(image) in wanted
            ]
        if not self._places:
            place = str(self.root / split)
            fail("BopReader", "root", "a data set with pictures in folders 000000, 000001 ...", repr(place))
        self.keys: Sequence[PictureKey] = [folder.key(image) for folder, image in self._places]

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
        depth_path = folder.path / "depth" / f"{image:06d}.png"
        camera = parse_camera(_entry(folder, "camera", image), where, has_depth=depth_path.is_file())
        depth = None
        if camera.depth_scale is not None:
            depth = decode_depth(depth_path.read_bytes(), camera.depth_scale, str(depth_path))
        rgb_path = _picture_path(folder.path, image)
        rgb = decode_rgb(rgb_path.read_bytes(), str(rgb_path))
        instances = tuple(
            _instance(folder, image, number, annotation)
            for number, annotation in enumerate(self.annotations(index))
        )
        return check_scene(Scene(self.keys[index], rgb, depth, camera.K, instances), where, self._centres)


def _instance(folder: _Folder, image: int, number: int, annotation: Annotation) -> Instance:
    path = folder.path / "mask_visib" / f"{image:06d}_{number:06d}.png"
    if not path.is_file():
        raise ValueError(f"BopReader: {path} is missing. Fetch the masks of the data set too.")
    where = f"{folder.path}/scene_gt.json, picture {image}, instance {number}"
    pose = parse_pose(_entry(folder, "gt", image)[number], where)
    full_box = parse_full_box(_entry(folder, "gt_info", image)[number])
    return build_instance(
        annotation, pose, decode_mask_picture(path.read_bytes(), str(path)), full_box, str(path)
    )


def _picture_path(folder: Path, image: int) -> Path:
    """The colour picture, or the grey one of a data set without colour."""
    names = [f"{kind}/{image:06d}{suffix}" for kind in ("rgb", "gray") for suffix in _PICTURE_SUFFIXES]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"BopReader: picture {image} of {folder} is missing; looked for {', '.join(names)}.")


def _read_table(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"scene_{name}.json"
    if not path.is_file():
        remedy = "Fetch it, or read with `ground_truth` False." if name != "camera" else "Fetch it."
        raise ValueError(f"BopReader: {path} is missing. {remedy}")
    return parse_json(path.read_bytes(), str(path))


def _entry(folder: _Folder, name: str, image: int) -> Any:
    table = folder.tables[name]
    if str(image) not in table:
        raise ValueError(f"BopReader: {folder.path}/scene_{name}.json has no picture {image}.")
    return table[str(image)]
