"""Broken data sets of the pose system: cameras, targets, results, BOP folders, models and shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.systems.pose.data.bop import BopReader, read_targets
from refkp.systems.pose.data.intrinsics import read_intrinsics
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.shard_writer import ShardWriter
from refkp.systems.pose.data.shards import ShardReader
from refkp.systems.pose.metrics.csv import Estimate, read_bop_csv, write_bop_csv
from tests.fuzz.readers.judge import check_reader
from tests.systems.pose.data.bop_folder import write_scene
from tests.systems.pose.data.scenes import make_scene

CAMERAS = (
    {"K": [[30.0, 0.0, 16.0], [0.0, 31.0, 12.0], [0.0, 0.0, 1.0]], "resolution": [24, 32]},
    {"fx": 30.0, "fy": 31.0, "cx": 16.0, "cy": 12.0, "width": 32, "height": 24, "depth_scale": 0.1},
    {"cam_K": [30.0, 0.0, 16.0, 0.0, 31.0, 12.0, 0.0, 0.0, 1.0], "distortion": [0.0, 0.0]},
)


@pytest.mark.parametrize("form", range(len(CAMERAS)))
def test_broken_cameras(form: int, tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(CAMERAS[form]))
    check_reader(f"camera {form}", tmp_path, lambda: read_intrinsics(path, (24, 32)), ("camera.json",))


def test_broken_targets(tmp_path: Path) -> None:
    path = tmp_path / "test_targets_bop19.json"
    entries = [{"scene_id": 1, "im_id": number, "obj_id": 7, "inst_count": 2} for number in range(3)]
    path.write_text(json.dumps([*entries, {"scene_id": 2, "im_id": 0}]))
    check_reader("targets", tmp_path, lambda: read_targets(path), (path.name,))


def test_broken_results(tmp_path: Path) -> None:
    path = tmp_path / "refkp_lmo-test.csv"
    shift = torch.tensor([1.0, 2.0, 500.0], dtype=torch.float64)
    rows = [Estimate(1, number, 7, 0.5, torch.eye(3, dtype=torch.float64), shift, 0.2) for number in range(3)]
    write_bop_csv(path, rows)
    check_reader("results", tmp_path, lambda: read_bop_csv(path), (path.name,))


def test_broken_bop_folders(tmp_path: Path) -> None:
    scene = tmp_path / "test" / "000001"
    write_scene(scene, make_scene(1))
    (tmp_path / "models").mkdir()
    box = {f"{kind}_{axis}": value for kind, value in (("min", -20.0), ("size", 40.0)) for axis in "xyz"}
    (tmp_path / "models/models_info.json").write_text(json.dumps({"7": {"diameter": 60.0, **box}}))
    tables = tuple(f"test/000001/scene_{name}.json" for name in ("camera", "gt", "gt_info"))
    pictures = ("rgb/000000.png", "depth/000000.png", "mask_visib/000000_000001.png")
    names = (*tables, *tables, "models/models_info.json", *(f"test/000001/{name}" for name in pictures))

    def read() -> None:
        reader = BopReader(tmp_path, "test")
        for index in range(len(reader)):
            assert reader.annotations(index) is not None
            assert reader[index] is not None

    check_reader("BOP folder", tmp_path, read, names)


def test_broken_models(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    symmetry = {
        "symmetries_discrete": [torch.eye(4).flatten().tolist()],
        "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}],
    }
    path = tmp_path / "models/models_info.json"
    path.write_text(json.dumps({"1": {"diameter": 60.0, **symmetry}, "2": {"diameter": 61.5}}))

    def read() -> None:
        models = ModelSet(tmp_path)
        for obj_id in models.obj_ids:
            assert models.info(obj_id).diameter is not None

    check_reader("models", tmp_path, read, ("models/models_info.json",))


def test_broken_shards(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    writer = ShardWriter(folder, image_format="png", compressed_masks=True)
    writer.write(0, [make_scene(0), make_scene(1)])
    writer.write_key_table()

    def read() -> None:
        index = tmp_path / "index"
        try:
            reader = ShardReader(folder, index_folder=index)
            for number in range(len(reader)):
                assert reader[number] is not None
        finally:
            shutil.rmtree(index, ignore_errors=True)

    check_reader("shards", tmp_path, read, ("shards/shard-000000.tar", "shards/key_to_shard.json"))
