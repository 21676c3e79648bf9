"""The crop strategies against a small oracle of Pillow and py360convert, and their records."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from refkp.geometry import sphere
from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.views.crops import crop_layout
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.records import FULL
from refkp.systems.panorama.views.rendering import OriginalTiles, render_views
from refkp.systems.panorama.views.spec import CropSpec
from tests.systems.panorama.conftest import direction_image

Picture = NDArray[np.uint8]
STRATEGIES = ("e2p", "sliding_window", "cubemap", "resize", "anyres", "anyres_max")


class Oracle:
    """The strategies as the original's manifest words them, picture by picture."""

    def __init__(self, erp: Picture, size: tuple[int, int], spec: CropSpec) -> None:
        self.erp, self.size, self.spec = erp, size, spec
        self.height, self.width = erp.shape[:2]

    def _resized(self, picture: Picture) -> Picture:
        image = pytest.importorskip("PIL.Image")
        pillow = image.fromarray(np.ascontiguousarray(picture))
        return np.array(pillow.resize(self.size[::-1], image.Resampling.LANCZOS))

    def _tile(self, yaw: float, trimmed: float) -> Picture:
        py360convert = pytest.importorskip("py360convert")
        tile = py360convert.e2p(self.erp, self.spec.fov_deg, yaw, 0.0, self.size)
        cut = int(self.size[0] * trimmed / 2)
        return self._resized(tile[cut : self.size[0] - cut])

    def e2p(self) -> list[Picture]:
        step = self.spec.fov_deg * (1 - self.spec.overlap)
        return [self._tile(k * step, 0.1) for k in range(math.ceil(360 / step))]

    def sliding_window(self) -> list[Picture]:
        columns = int(self.width * self.spec.fov_deg / 360)
        stride = int(columns * (1 - self.spec.overlap))
        count = math.ceil(360 / (self.spec.fov_deg * (1 - self.spec.overlap)))
        rows = slice(self.height // 12, self.height - self.height // 12)
        wide = np.concatenate((self.erp, self.erp), 1)
        return [self._resized(wide[rows, k * stride : k * stride + columns]) for k in range(count)]

    def cubemap(self) -> list[Picture]:
        py360convert = pytest.importorskip("py360convert")
        faces = py360convert.e2c(self.erp, face_w=self.size[1], cube_format="list")
        return [self._resized(face) for face in faces[:4]]

    def resize(self) -> list[Picture]:
        return [self._resized(self.erp)]

    def anyres(self) -> list[Picture]:
        views = self.resize()
        count, half, quarter = min(6, self.spec.max_patches // 2), self.height // 2, self.height // 4
        for rows, number in ((slice(half - quarter, half + quarter), count), (slice(None), None)):
            number = min(1 + self.spec.max_patches - len(views), count) if number is None else number
            for k in range(number):
                columns = slice(int(k * self.width / number), int((k + 1) * self.width / number))
                views.append(self._resized(self.erp[rows, columns]))
        left = 1 + self.spec.max_patches - len(views)
        return views + [self._tile(yaw, 0.2) for yaw in np.linspace(0, 315, left, endpoint=False)]

    def anyres_max(self) -> list[Picture]:
        views, count = self.resize(), self.spec.max_patches
        across = min(6, count // 2)
        down = min(3, count // across)
        columns, rows = self.width // across, self.height // down
        for y in range(down):
            for x in range(across):
                patch = self.erp[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
                views.append(self._resized(patch))
        left = count - across * down
        return views + [self._tile(k * 360 / left, 0.0) for k in range(left)]


def smooth_erp(height: int, width: int) -> Picture:
    """Waves, which the 1/32 px of OpenCV's positions in py360convert hardly change."""
    x = np.arange(width) * 2 * np.pi / width
    y = np.arange(height)[:, None] * np.pi / height
    waves = [np.sin(3 * x) * np.sin(y), np.cos(2 * x + y) * np.sin(y), np.cos(4 * y) + 0 * x]
    return np.stack([127.5 + 100 * wave for wave in waves], -1).round().astype(np.uint8)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("erp_size", "size", "fov", "overlap", "patches"),
    [
        ((96, 192), (32, 32), 90.0, 0.5, 12),
        ((100, 240), (24, 40), 75.0, 0.2, 13),
        ((90, 160), (20, 20), 60.0, 0.4, 3),
        ((64, 130), (33, 21), 110.0, 0.0, 20),
    ],
)
def test_equals_the_oracle(
    strategy: str,
    erp_size: tuple[int, int],
    size: tuple[int, int],
    fov: float,
    overlap: float,
    patches: int,
) -> None:
    spec = CropSpec(strategy, fov, overlap, patches)
    erp = smooth_erp(*erp_size)
    want = np.stack(getattr(Oracle(erp, size, spec), strategy)()).astype(float)
    layout = crop_layout(spec, erp_size, size)
    original = OriginalTiles((size[1], size[1]) if strategy == "cubemap" else size)
    pixels = torch.from_numpy(erp).permute(2, 0, 1)[None]
    views = render_views(pixels, layout, size, any_aspect=True, original=original)
    got = 255 * views.pixels[0].permute(0, 2, 3, 1).numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2.01
    assert np.abs(got - want).mean() < 0.2


def shown(views: torch.Tensor) -> torch.Tensor:
    """The directions [...,h,w,3] that views [...,3,h,w] of a direction image show."""
    return torch.nn.functional.normalize(2 * views.movedim(-3, -1).double() - 1, dim=-1)


@pytest.mark.parametrize("strategy", [*STRATEGIES[:3], "anyres", "anyres_max", "anyres_e2p"])
def test_records_say_where_the_views_look(strategy: str) -> None:
    """The middle of every view shows the direction of its record; so the corner extents are right too."""
    layout = crop_layout(CropSpec(strategy), (96, 192), 33)
    views = shown(render_views(direction_image(96), layout, 33).pixels[0])
    for view, picture in zip(layout.views, views, strict=True):
        if view.kind == "global":
            continue
        gap = sphere.great_circle_distance(picture[16, 16], view.forward_xyz)
        assert float(torch.rad2deg(gap)) < 1.5
        lon, _ = (torch.rad2deg(angle) for angle in sphere.lonlat_from_direction(picture[16]))
        width = float((lon[-1] - lon[0]) % 360) * 33 / 32
        assert width == pytest.approx(view.hfov_deg, abs=4)


def test_one_step_equals_two_steps_where_nothing_aliases() -> None:
    layout = crop_layout(CropSpec("e2p"), (256, 512), 40)
    erp = direction_image(256).float()
    fine, original = (
        render_views(erp, layout, 40, original=option).pixels for option in (None, OriginalTiles((40, 40)))
    )
    assert float((fine - original)[..., 4:-4, 4:-4].abs().max()) < 0.02  # half a pixel at 90 degrees


def test_yaws() -> None:
    e2p = crop_layout(CropSpec("e2p"), (64, 128), 32)
    assert [view.yaw_deg for view in e2p.views] == [0, 45, 90, 135, 180, -135, -90, -45]
    window = crop_layout(CropSpec("sliding_window"), (64, 128), 32)
    assert [view.yaw_deg for view in window.views] == [-135, -90, -45, 0, 45, 90, 135, -180]


def test_trimmed_tiles_have_the_field_of_their_rows() -> None:
    layout = crop_layout(CropSpec("e2p"), (64, 128), 40)
    assert layout.tiles[0].vfov_deg == pytest.approx(2 * math.degrees(math.atan(0.9)))
    assert layout.tiles[0].hfov_deg == 90


@pytest.mark.parametrize(("patches", "kinds"), [(0, "g"), (1, "gt"), (2, "gcc"), (5, "gcccct"), (3, "gcct")])
def test_anyres_counts(patches: int, kinds: str) -> None:
    layout = crop_layout(CropSpec("anyres", max_patches=patches), (64, 128), 32)
    assert "".join(view.kind[0] for view in layout.views) == kinds
    assert layout.views[0].letterbox == FULL


def test_json_round_trip() -> None:
    layout = crop_layout(CropSpec("anyres"), (64, 128), 32)
    assert ErpLayout.from_json(layout.to_json()) == layout


def test_layouts_without_tiles_fail_in_the_loss_path() -> None:
    layout = crop_layout(CropSpec("sliding_window"), (64, 128), 32)
    assert layout.tiles == ()
    assert layout.jittered(5.0) == layout
    with pytest.raises(ValueError, match="tiles"):
        correspondence_table(layout, (4, 4))
    with pytest.raises(ValueError, match="perspective tiles; got 8 views without one"):
        layout.require_tiles("a_loss")


def test_errors() -> None:
    with pytest.raises(ValueError, match="'anyres_e2p'"):
        CropSpec("tiles")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"inside \(0,180\)"):
        CropSpec(fov_deg=180.0)
    with pytest.raises(ValueError, match=r"in \[0,1\)"):
        CropSpec(overlap=1.0)
    with pytest.raises(ValueError, match="at least 2 for 'anyres_max'"):
        CropSpec("anyres_max", max_patches=1)
    with pytest.raises(ValueError, match="step of one pixel"):
        crop_layout(CropSpec("sliding_window", 4.0, 0.5), (8, 16), 4)
    with pytest.raises(ValueError, match="crops of one pixel"):
        crop_layout(CropSpec("anyres_max"), (1, 2), 4)
    with pytest.raises(ValueError, match="room for one row"):
        crop_layout(CropSpec("anyres_e2p", 100.0), (64, 128), 32)
    layout = crop_layout(CropSpec("e2p"), (64, 128), 32)
    with pytest.raises(ValueError, match="whole rows"):
        render_views(torch.zeros(1, 3, 64, 128), layout, 32, original=OriginalTiles((31, 31)))
    with pytest.raises(ValueError, match="`antialias` must be 'none'"):
        render_views(
            torch.zeros(1, 3, 64, 128), layout, 32, antialias="box", original=OriginalTiles((32, 32))
        )
