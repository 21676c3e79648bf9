"""Panoramas from folders and CSV files: reading, splits, batches, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
image = pytest.importorskip("PIL.Image", reason="needs the extra `panorama`")

from refkp.systems.panorama.batch import ErpBatch, PanoBatch  # noqa: E402
from refkp.systems.panorama.data import PanoramaData  # noqa: E402
from refkp.systems.panorama.datasets import PanoramaDataset  # noqa: E402
from refkp.systems.panorama.images import find_panoramas, read_panorama  # noqa: E402
from refkp.systems.panorama.layout import ErpLayout  # noqa: E402


def _data(folder: Path, **options: object) -> PanoramaData:
    data = PanoramaData(str(folder), view_size=16, erp_height=32, batch_size=2, **options)
    data.setup("fit")
    return data


def test_folder_and_csv_name_the_same_files(panorama_folder: Path) -> None:
    paths = find_panoramas(panorama_folder)
    assert [path.name for path in paths] == [f"pano_{index}.png" for index in range(4)]
    table = panorama_folder / "table.csv"
    table.write_text("url,query\n" + "".join(f"{path.name},what?\n" for path in [*paths, paths[0]]))
    assert find_panoramas(table) == paths
    table.write_text("\ufeffurl,query\npano_0.png,what?\n\n", encoding="utf-8")  # as spreadsheets save it
    assert find_panoramas(table) == paths[:1]
    table.write_text("query,url\nwhat?\n")
    with pytest.raises(ValueError, match=r"filled in column `url` of every row; got .*table.csv, line 2"):
        find_panoramas(table)


def test_read_panorama(panorama_folder: Path) -> None:
    erp = read_panorama(panorama_folder / "pano_0.png")
    assert (erp.shape, erp.dtype) == ((3, 32, 64), torch.uint8)
    assert read_panorama(panorama_folder / "pano_0.png", 16).shape == (3, 16, 32)


def test_split_holds_out_the_last(panorama_folder: Path) -> None:
    data = _data(panorama_folder)
    assert [path.name for path in data.val_set.paths] == ["pano_3.png"]
    assert len(data.train_set) == 3
    named = _data(panorama_folder, val_source=str(panorama_folder), repeat=3)
    assert (len(named.train_set), len(named.val_set)) == (12, 4)


def test_batches_carry_their_layout(panorama_folder: Path) -> None:
    data = _data(panorama_folder)
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, ErpBatch)
    assert batch.erp.shape == (2, 3, 32, 64)
    views = data.on_after_batch_transfer(batch.to("cpu"), 0)
    assert isinstance(views, PanoBatch)
    assert views.views.shape == (2, 9, 3, 16, 16)
    assert views.layout == data.layout


def test_jitter_changes_the_layout_of_training_batches_only(panorama_folder: Path) -> None:
    data = _data(panorama_folder, jitter_deg=5.0)
    assert next(iter(data.train_dataloader())).layout != data.layout
    assert next(iter(data.val_dataloader())).layout == data.layout


def test_augmentation_turns_training_samples(panorama_folder: Path) -> None:
    paths, layout = find_panoramas(panorama_folder), ErpLayout.build()
    still, yaw, full = (PanoramaDataset(paths, 32, layout, augmentation=kind)[0] for kind in ("none", "yaw", "full"))
    torch.testing.assert_close(still.world_from_rig, torch.eye(3))
    torch.testing.assert_close(yaw.world_from_rig[1], torch.tensor([0.0, 1.0, 0.0]))
    assert float((full.world_from_rig[1] - yaw.world_from_rig[1]).abs().max()) > 0.01


def test_errors(panorama_folder: Path) -> None:
    empty = panorama_folder / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="at least one panorama"):
        find_panoramas(empty)
    with pytest.raises(ValueError, match="folder of panoramas or a CSV file"):
        find_panoramas(panorama_folder / "missing")
    (empty / "table.csv").write_text("path\npano.png\n")
    with pytest.raises(ValueError, match="column `url`"):
        find_panoramas(empty / "table.csv")
    with pytest.raises(ValueError, match="val_fraction"):
        PanoramaData(str(panorama_folder), val_fraction=0.0)
    with pytest.raises(ValueError, match="augmentation"):
        PanoramaDataset([], 32, ErpLayout.build(), augmentation="flip")  # type: ignore[arg-type]


def test_unreadable_pictures_are_errors_not_substitutes(panorama_folder: Path) -> None:
    broken = panorama_folder / "broken.png"
    broken.write_bytes((panorama_folder / "pano_0.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot decode .*broken\.png"):
        read_panorama(broken)
    flat = panorama_folder / "flat.png"
    image.new("RGB", (50, 40)).save(flat)
    with pytest.raises(ValueError, match=r"twice as wide as high; got \(50, 40\)"):
        read_panorama(flat)


def test_one_panorama_cannot_be_split(panorama_folder: Path) -> None:
    for index in range(1, 4):
        (panorama_folder / f"pano_{index}.png").unlink()
    with pytest.raises(ValueError, match="at least two panoramas"):
        _data(panorama_folder)
