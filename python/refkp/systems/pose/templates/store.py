"""Template pictures on disk, in the layout of the published sets.

    ROOT/000001/000000.png          RGBA, the object's mask in alpha
    ROOT/000001/000000_depth.png    uint16
    ROOT/object_poses/000001.npy    float64 [n,4,4], object to camera
    ROOT/diameter.json              object id -> distance of its cameras, millimetres
    ROOT/store.json                 units, camera, true diameters and digests of the meshes; published sets have none

Published sets say nowhere what their lengths are: depth and translations count 1 mm for BOP sets and 0.1 mm for
GSO and ShapeNet, which were rendered ten times as large (`scale_factor` 1 and 10).

Source: spec pose 2.4.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail
from refkp._files import whole_file, whole_folder, write_json
from refkp.data.images import decode_cutout, decode_depth, encode_depth, encode_rgb, read_bytes
from refkp.systems.pose.crops import crop_views, mask_box
from refkp.systems.pose.views import Views

#: Camera of the published templates (LineMOD).
LINEMOD_K = ((572.4114, 0.0, 320.0), (0.0, 573.57043, 240.0), (0.0, 0.0, 1.0))
_LINEMOD_SIZE = (480, 640)  # height and width of its pictures


def camera_of_size(size: tuple[int, int]) -> tuple[tuple[float, float, float], ...]:
    """`LINEMOD_K` for pictures of another (height, width): what it shows, as large as fits, in the middle.

    >>> camera_of_size((240, 400))
    ((286.2057, 0.0, 200.0), (0.0, 286.785215, 120.0), (0.0, 0.0, 1.0))
    """
    height, width = size
    (fx, _, cx), (_, fy, cy), last = LINEMOD_K
    scale = min(height / _LINEMOD_SIZE[0], width / _LINEMOD_SIZE[1])
    left, top = (width - scale * _LINEMOD_SIZE[1]) / 2, (height - scale * _LINEMOD_SIZE[0]) / 2
    return (scale * fx, 0.0, scale * cx + left), (0.0, scale * fy, scale * cy + top), last


@dataclass(frozen=True)
class StoreFormat:
    """What the numbers of a store mean."""

    scale_factor: float = 1.0  # units of the translations per millimetre
    depth_steps_per_mm: float = 10.0
    K: tuple[tuple[float, float, float], ...] = LINEMOD_K
    size: tuple[int, int] = _LINEMOD_SIZE  # height and width of the pictures


class TemplateStore:
    """Reads the templates of a data set.

    Args:
        root: the folder of the data set.
        scale_factor: units per millimetre of a published set (10 for GSO and ShapeNet, 1 for BOP sets). A set
            that we wrote says it itself.

    Raises:
        FileNotFoundError: no templates there.
        ValueError: a published set without `scale_factor`, or one that contradicts the set's own.
    """

    def __init__(self, root: str | Path, *, scale_factor: float | None = None) -> None:
        self.root = Path(root)
        if not (self.root / "object_poses").is_dir():
            raise FileNotFoundError(
                f"TemplateStore: {str(root)!r} has no folder object_poses, so it is no template set. "
                "Make one with `refkp pose render-templates`."
            )
        self.format, self._diameters = _read_format(self.root, scale_factor)
        self._poses: dict[int, Tensor] = {}

    @property
    def scale_factor(self) -> float:
        """Units of the stored translations per millimetre."""
        return self.format.scale_factor

    @property
    def K(self) -> Tensor:
        """float64 [3,3] of the stored pictures."""
        return torch.tensor(self.format.K, dtype=torch.float64)

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """The objects that have templates, in ascending order."""
        names = (file.stem for file in (self.root / "object_poses").glob("[!.]*.npy"))
        whole = (name for name in names if name.isdigit() and (self.root / name).is_dir())
        return tuple(sorted(map(int, whole)))

    @property
    def num_views(self) -> int:
        """Views of every object of the set.

        Raises:
            ValueError: there is no object, or the objects differ.
        """
        counts = {len(self.poses(obj_id)) for obj_id in self.obj_ids}
        if len(counts) != 1:
            fail("TemplateStore", "root", "of objects with one number of views", f"numbers {sorted(counts)}")
        return counts.pop()

    def poses(self, obj_id: int) -> Tensor:
        """float64 [n,4,4], object to camera, millimetres, in the order of the views."""
        if obj_id not in self._poses:
            path = self.root / "object_poses" / f"{obj_id:06d}.npy"
            poses = _load_poses(path)
            poses[:, :3, 3] /= self.scale_factor
            self._poses[obj_id] = torch.from_numpy(poses)
        return self._poses[obj_id].clone()

    def diameter(self, obj_id: int) -> float:
        """The largest distance between two points of the object, millimetres.

        Raises:
            ValueError: the set does not tell, as no published one does.
        """
        if str(obj_id) not in self._diameters:
            got = f"{obj_id}; those told are {sorted(map(int, self._diameters))}"
            remedy = "Published sets tell none: take it from models_info.json or `Mesh.diameter`."
            fail("TemplateStore.diameter", "obj_id", "an object whose diameter the set tells", got, remedy)
        return self._diameters[str(obj_id)]

    def views(self, obj_id: int, index: Sequence[int] | Tensor, size: int) -> Views:
        """Square crops of chosen views, each as tight as its mask, with exact intrinsics.

        Reads and decodes two pictures per view: callers that need views again keep them.

        Args:
            obj_id: the object.
            index: k numbers of views.
            size: side of the crops in pixels.

        Returns:
            Views with the leading axis [k].

        Raises:
            ValueError: no such object or view, or a file that is missing, damaged or empty; it is named.
        """
        poses, numbers = self.poses(obj_id), [int(number) for number in index]
        wrong = [number for number in numbers if not 0 <= number < len(poses)]
        if wrong or not numbers:
            fail("TemplateStore.views", "index", f"some of 0..{len(poses) - 1}", wrong or "none")
        crops = [self._view(obj_id, number, poses[number], size) for number in numbers]
        return Views(*(torch.stack(tensors) for tensors in zip(*crops, strict=True)))

    def _view(self, obj_id: int, number: int, pose: Tensor, size: int) -> Views:
        path = self.root / f"{obj_id:06d}" / f"{number:06d}.png"
        depth_path = path.with_name(f"{path.stem}_depth.png")
        rgb, mask = decode_cutout(read_bytes(path), str(path))
        depth = decode_depth(read_bytes(depth_path), 1 / self.format.depth_steps_per_mm, str(depth_path))
        if depth.shape != mask.shape:
            got = f"{list(depth.shape)} in {str(depth_path)!r}"
            fail("TemplateStore.views", "depth", f"of the size {list(mask.shape)} of the picture", got)
        if not mask.any():
            got = f"{str(path)!r}, which is empty"
            fail("TemplateStore.views", "view", "a picture of the object", got, "Render it again.")
        return crop_views(rgb, mask, depth, self.K, pose, mask_box(mask), size)


@contextmanager
def new_object(
    root: str | Path,
    obj_id: int,
    poses: Tensor,
    *,
    digest: str,
    diameter: float,
    distance: float,
    form: StoreFormat,
) -> Iterator[Path]:
    """Add an object to a store, or replace its pictures: yields a hidden folder for `write_view`.

    Only when the block ends well does the object appear; after an error nothing of it is left.

    Args:
        root: folder of the store; made if it is not there.
        obj_id: the object.
        poses: float64 [n,4,4], object to camera, millimetres; the block must write n views.
        digest: of its mesh; the pictures of another one are never replaced.
        diameter: largest distance of two points of the object, millimetres.
        distance: of the cameras from the middle of the object, millimetres.
        form: what the numbers mean; all objects of a store share it.

    Raises:
        ValueError: the store there has another format, or another mesh under this number; or the block wrote another
            number of views.
    """
    root = Path(root)
    pictures = root / f"{obj_id:06d}"
    if pictures.exists():
        _require_same_mesh(root, obj_id, digest)
    _write_format(root, form)
    with whole_folder(pictures) as folder:
        yield folder
        _require_views(folder, len(poses))
        if pictures.exists():  # gone before the poses change, so that pictures never stand beside other poses
            shutil.rmtree(pictures.rename(folder / "replaced"))
        _write_poses(root, obj_id, poses, form)
        _write_format(root, form, (str(obj_id), diameter, digest))
        _update_json(root / "diameter.json", {str(obj_id): distance})


def write_view(
    folder: Path, number: int, rgb: NDArray[np.uint8], depth: NDArray[np.float32], form: StoreFormat
) -> None:
    """Write one view: the picture with its mask, and the depth.

    Args:
        folder: from `new_object`.
        number: which view.
        rgb: [H,W,3].
        depth: [H,W] millimetres, 0 off the object.
        form: of the store.

    Raises:
        ValueError: the depth does not fit into 16 bits.
    """
    steps = np.rint(depth.astype(np.float64) * form.depth_steps_per_mm)
    if steps.max() > np.iinfo(np.uint16).max:
        got = f"{depth.max():.0f} mm at {form.depth_steps_per_mm:g} steps per mm"
        fail("write_view", "depth", "at most 65535 steps", got, "Use fewer steps per mm.")
    shown = torch.from_numpy(depth)
    alpha = torch.where(shown > 0, 255, 0).to(torch.uint8)
    rgba = torch.cat((torch.from_numpy(rgb).permute(2, 0, 1), alpha[None]))
    (folder / f"{number:06d}.png").write_bytes(encode_rgb(rgba, ".png"))
    (folder / f"{number:06d}_depth.png").write_bytes(encode_depth(shown, 1 / form.depth_steps_per_mm))


def _write_poses(root: Path, obj_id: int, poses: Tensor, form: StoreFormat) -> None:
    stored = poses.double().clone()
    stored[:, :3, 3] *= form.scale_factor
    with whole_file(root / "object_poses" / f"{obj_id:06d}.npy") as unfinished:
        np.save(unfinished, stored.numpy())


def _require_same_mesh(root: Path, obj_id: int, digest: str) -> None:
    path = root / "store.json"
    known = _read_json(path).get("meshes", {}) if path.is_file() else {}
    if known.get(str(obj_id)) != digest:
        got = f"{obj_id}, which is another mesh in {str(root)!r}, or one that it does not tell"
        remedy = f"Choose another --obj_id or --out, or remove {root / f'{obj_id:06d}'}."
        fail("new_object", "obj_id", "a new one, or that of the same mesh", got, remedy)


def _require_views(folder: Path, num_views: int) -> None:
    wanted = {f"{number:06d}{end}.png" for number in range(num_views) for end in ("", "_depth")}
    missing = sorted(wanted - {file.name for file in folder.iterdir()})
    if missing:
        fail(
            "new_object", "views", f"all {num_views} written", f"{len(missing)} files missing: {missing[:3]}"
        )


def _read_format(root: Path, scale_factor: float | None) -> tuple[StoreFormat, dict[str, float]]:
    path = root / "store.json"
    if path.is_file():
        saved = _read_json(path)
        try:
            form = _format_of(saved)
            diameters = {key: float(value) for key, value in saved["diameters_mm"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            fail(
                "TemplateStore",
                "root",
                "a set whose store.json tells its units",
                f"{error!r} in {str(path)!r}",
            )
        if scale_factor is not None and scale_factor != form.scale_factor:
            fail("TemplateStore", "scale_factor", f"{form.scale_factor:g}, as {path} says", scale_factor)
        return form, diameters
    if scale_factor is None or not scale_factor > 0:
        fail(
            *("TemplateStore", "scale_factor", "given, for a published set does not tell its unit"),
            scale_factor,
            "It is 10 for GSO and ShapeNet and 1 for BOP sets.",
        )
    return StoreFormat(scale_factor=scale_factor, depth_steps_per_mm=scale_factor), {}


def _write_format(root: Path, form: StoreFormat, entry: tuple[str, float, str] | None = None) -> None:
    """What the store says of itself, with the diameter and the digest of the mesh of a new object."""
    path = root / "store.json"
    diameters: dict[str, float] = {}
    meshes: dict[str, str] = {}
    if path.is_file():
        saved = _read_json(path)
        if _format_of(saved) != form:
            got = f"another than that of {str(path)!r}"
            fail("new_object", "form", "the format of the store", got, "Write to a folder of its own.")
        diameters, meshes = saved["diameters_mm"], saved.get("meshes", {})
    if entry is not None:
        obj_id, diameter, digest = entry
        diameters, meshes = {**diameters, obj_id: diameter}, {**meshes, obj_id: digest}
    write_json(path, {**asdict(form), "diameters_mm": diameters, "meshes": meshes})


def _format_of(saved: dict[str, Any]) -> StoreFormat:
    return StoreFormat(
        float(saved["scale_factor"]),
        float(saved["depth_steps_per_mm"]),
        tuple(tuple(float(value) for value in row) for row in saved["K"]),  # type: ignore[misc]
        (int(saved["size"][0]), int(saved["size"][1])),
    )


def _update_json(path: Path, entries: dict[str, float]) -> None:
    known = _read_json(path) if path.is_file() else {}
    write_json(path, {**known, **entries})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"TemplateStore: cannot read {str(path)!r}: {error}. Repair or remove it."
        ) from error
    if not isinstance(content, dict):
        fail("TemplateStore", "root", "a set of readable files", f"{str(path)!r}, which holds no table")
    return content


def _load_poses(path: Path) -> NDArray[np.float64]:
    try:
        poses = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"TemplateStore: cannot read the poses {str(path)!r}: {error}. Render the object's templates again."
        ) from error
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or not len(poses) or not np.isfinite(poses).all():
        got = f"shape {poses.shape} in {str(path)!r}"
        fail(
            "TemplateStore", "poses", "finite, of shape [n,4,4]", got, "Render the object's templates again."
        )
    return poses
