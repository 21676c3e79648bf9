"""Panoramas from folders and CSV files: reading, splits, batches, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
image = pytest.importorskip("PIL.Image", reason="needs the extra `panorama`")

from refkp.systems.panorama.batch import ErpBatch, PanoBatch  # noqa: E402
from refkp.systems.panorama.data.datamodule import PanoramaData  # noqa: E402
from refkp.systems.panorama.data.datasets import PanoramaDataset, collate  # noqa: E402
from refkp.systems.panorama.data.sources import find_panoramas  # noqa: E402
from refkp.systems.panorama.data.text import TextSpec  # noqa: E402
from refkp.systems.panorama.data.viewing import Viewing  # noqa: E402
from refkp.systems.panorama.views.images import read_panorama  # noqa: E402
from refkp.systems.panorama.views.layout import ErpLayout  # noqa: E402


def _data(folder: Path, **options: object) -> PanoramaData:
    viewing = Viewing(view_size=16, erp_height=32)
    data = PanoramaData(str(folder), viewing=viewing, batch_size=2, **options)
    data.setup("fit")
    return data


def _text_data(table: Path, **options: object) -> PanoramaData:
    return _data(table, stage="finetune", language="tiny", **options)


def _seed_that_holds_out(table: Path, name: str) -> int:
    return next(seed for seed in range(99) if _text_data(table, split_seed=seed).held_out_names() == [name])


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


def test_held_out_panoramas_are_drawn_by_the_seed(panorama_folder: Path) -> None:
    chosen = {_data(panorama_folder, split_seed=seed).held_out_names()[0] for seed in range(8)}
    assert len(chosen) > 1
    data = _data(panorama_folder)
    assert data.held_out_names() == _data(panorama_folder).held_out_names()
    assert (len(data.train_set), len(data.val_set)) == (3, 1)
    assert not {path.name for path in data.train_set.paths} & set(data.held_out_names())
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
    still, yaw, full = (
        PanoramaDataset(paths, 32, layout, augmentation=kind)[0] for kind in ("none", "yaw", "full")
    )
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
        PanoramaDataset(find_panoramas(panorama_folder), 32, ErpLayout.build(), augmentation="flip")[0]  # type: ignore[arg-type]


def test_unreadable_pictures_are_errors_not_substitutes(panorama_folder: Path) -> None:
    broken = panorama_folder / "broken.png"
    broken.write_bytes((panorama_folder / "pano_0.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"broken\.png cannot be decoded"):
        read_panorama(broken)
    flat = panorama_folder / "flat.png"
    image.new("RGB", (50, 40)).save(flat)
    with pytest.raises(ValueError, match=r"twice as wide as high; got \(50, 40\)"):
        read_panorama(flat)


def test_hidden_files_are_no_panoramas(panorama_folder: Path) -> None:
    (panorama_folder / ".ipynb_checkpoints").mkdir()
    for name in ("._pano_0.png", ".ipynb_checkpoints/pano_1.png"):
        (panorama_folder / name).write_bytes(b"not a picture")
    assert [path.name for path in find_panoramas(panorama_folder)] == [
        f"pano_{index}.png" for index in range(4)
    ]


def test_a_copy_of_a_held_out_panorama_is_an_error(panorama_folder: Path) -> None:
    held_out = panorama_folder.parent / "held_out"
    held_out.mkdir()
    (held_out / "other_name.png").write_bytes((panorama_folder / "pano_3.png").read_bytes())
    with pytest.raises(ValueError, match=r"other_name\.png', which is equal to '.*pano_3\.png' in training"):
        _data(panorama_folder, val_source=str(held_out))
    (panorama_folder / "copy.png").write_bytes((panorama_folder / "pano_2.png").read_bytes())
    (panorama_folder / "pano_0.png").unlink()
    (panorama_folder / "pano_1.png").unlink()
    (panorama_folder / "pano_3.png").unlink()
    with pytest.raises(ValueError, match="which is equal to"):
        _data(panorama_folder)


def test_one_panorama_cannot_be_split(panorama_folder: Path) -> None:
    for index in range(1, 4):
        (panorama_folder / f"pano_{index}.png").unlink()
    with pytest.raises(ValueError, match="at least two, of which one is held out; got 1"):
        _data(panorama_folder)


def test_text_batches(caption_file: Path) -> None:
    data = _text_data(caption_file, split_seed=_seed_that_holds_out(caption_file, "pano_3.png"))
    batch = next(iter(data.val_dataloader()))
    assert batch.names == ("pano_3.png",)
    assert batch.text is not None
    views = data.on_after_batch_transfer(batch.to("cpu"), 0)
    assert views.text is not None
    assert torch.equal(views.text.input_ids, batch.text.input_ids)
    assert len(data.train_set) == 4  # two questions about the first panorama


def test_each_row_keeps_its_own_text(caption_file: Path) -> None:
    seed = _seed_that_holds_out(caption_file, "pano_3.png")
    data = _text_data(caption_file, repeat=2, split_seed=seed)
    texts = {}
    for index in range(len(data.train_set)):
        item = data.train_set[index]
        assert item.text is not None
        texts.setdefault((item.name, tuple(item.text.labels.tolist())), 0)
        texts[item.name, tuple(item.text.labels.tolist())] += 1
    assert sorted(name for name, _ in texts) == ["pano_0.png", "pano_0.png", "pano_1.png", "pano_2.png"]
    assert set(texts.values()) == {2}


def test_a_panorama_is_on_one_side_of_the_split(caption_file: Path) -> None:
    rows = caption_file.read_text().splitlines()
    caption_file.write_text("\n".join((*rows, "pano_3.png,the floor,Grey.")) + "\n")
    data = _text_data(caption_file, split_seed=_seed_that_holds_out(caption_file, "pano_3.png"))
    assert [path.name for path in data.val_set.paths] == ["pano_3.png", "pano_3.png"]
    assert "pano_3.png" not in {path.name for path in data.train_set.paths}


def test_several_files_are_joined(caption_file: Path) -> None:
    second = caption_file.with_name("more.csv")
    second.write_text("url,instruction,response\npano_2.png,Is it dark?,No.\n")
    data = PanoramaData([str(caption_file), str(second)], str(second), stage="resampler", language="tiny")
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (6, 1)


def test_text_stages_need_caption_files(panorama_folder: Path) -> None:
    with pytest.raises(ValueError, match="a caption file in the text stages"):
        _text_data(panorama_folder)


def test_a_text_that_is_too_long_is_found_at_set_up(caption_file: Path) -> None:
    with pytest.raises(ValueError, match=r"captions\.csv, line 4: .*short enough for 100 tokens"):
        _text_data(caption_file, text=TextSpec(max_length=100))


def test_missing_panoramas_are_found_at_set_up(caption_file: Path) -> None:
    (caption_file.parent / "pano_1.png").unlink()
    with pytest.raises(ValueError, match=r"exist; got '.*pano_1\.png' in .*captions\.csv, line 4, 1 missing"):
        _text_data(caption_file)


def test_skip_drops_whole_rows_and_counts_them(caption_file: Path) -> None:
    (caption_file.parent / "pano_0.png").write_bytes(b"no picture")
    (caption_file.parent / "pano_1.png").unlink()
    with pytest.warns(UserWarning, match="3 of 5 rows left out"):
        data = _text_data(caption_file, on_error="skip")
    assert sorted([*data.train_set.paths, *data.val_set.paths]) == [
        caption_file.parent / f"pano_{index}.png" for index in (2, 3)
    ]
    assert [text.split(":")[0].rpartition(" ")[2] for text in data.skipped] == ["2", "3", "4"]
    for index in (2, 3):
        (caption_file.parent / f"pano_{index}.png").unlink()
    with pytest.raises(ValueError, match="a place with a readable panorama"), pytest.warns(match="5 of 5"):
        _text_data(caption_file, on_error="skip")


def test_a_corrupt_panorama_raises_while_loading(caption_file: Path) -> None:
    seed = _seed_that_holds_out(caption_file, "pano_3.png")
    (caption_file.parent / "pano_3.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"pano_3\.png cannot be decoded"):
        next(iter(_text_data(caption_file, split_seed=seed).val_dataloader()))


def test_collate_refuses_what_does_not_belong_together(caption_file: Path) -> None:
    paths = [caption_file.parent / "pano_0.png"]
    bare = PanoramaDataset(paths, 32, ErpLayout.build())[0]
    turned = PanoramaDataset(paths, 32, ErpLayout.build(yaw_phase_deg=5.0))[0]
    small = PanoramaDataset(paths, 16, ErpLayout.build())[0]
    texted = _text_data(caption_file).train_set[0]
    for other, message in ((turned, "layouts"), (small, "sizes of `erp`"), (texted, "kinds of sample")):
        with pytest.raises(ValueError, match=f"not of different {message}"):
            collate([bare, other])
    with pytest.raises(ValueError, match="`pad_id` must be given"):
        collate([texted])
    assert collate([bare, bare]).text is None


@pytest.mark.slow
def test_loader_processes_give_the_same_batches(caption_file: Path) -> None:
    alone, spread = (
        [batch.text.input_ids for batch in _text_data(caption_file, num_workers=workers).val_dataloader()]
        for workers in (0, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(alone, spread, strict=True))


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("batch_size", 0, "at least 1"),
        ("repeat", 0, "at least 1"),
        ("prefetch", 0, "at least 1"),
        ("num_workers", -1, "at least 0"),
        ("jitter_deg", -5.0, "at least 0"),
    ],
)
def test_numbers_out_of_range(option: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=f"PanoramaData: `{option}` must be {rule}; got {value}"):
        PanoramaData("nowhere", **{option: value})
