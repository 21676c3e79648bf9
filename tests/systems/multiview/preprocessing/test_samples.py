"""What is stored is exact: pictures, points, cameras, flags, and the type of every dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")

import h5py

from refkp.data.images import encode_rgb
from refkp.data.video import Video
from refkp.ops import camera_warp
from refkp.systems.multiview.calibration import Calibration, write_calibration
from refkp.systems.multiview.data.generator import MadeUpSession
from refkp.systems.multiview.preprocessing.running import preprocess
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.store.reading import SampleStore
from refkp.systems.multiview.store.schema import FIELDS, Dimensions, jpeg_path
from tests.systems.multiview.preprocessing.support import SIZE, small_session

Made = tuple[Path, MadeUpSession]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("sampled") / "walk"
    return folder, small_session(folder)


def _written(folder: Path, out: Path, **options: object) -> SampleStore:
    spec = PreprocessSpec(**{"size": 64, "max_frames": 3, **options})  # type: ignore[arg-type]
    return SampleStore(preprocess([read_recording(folder)], out, spec).path)


@pytest.mark.parametrize("crop", ["whole", "centred", "animal"])
@pytest.mark.parametrize("undistort", [True, False])
def test_stored_cameras_see_the_stored_points_where_they_are_stored(
    crop: str, undistort: bool, made: Made, tmp_path: Path
) -> None:
    with _written(made[0], tmp_path / "x.h5", crop=crop, undistort=undistort) as store:
        for sample in map(store.read, range(len(store))):
            assert sample.cameras is not None
            assert sample.points is not None
            K, R, t = (part.astype(float) for part in sample.cameras[1:4])
            camera = np.einsum("vij,kj->vki", R, sample.points) + t[:, None]
            rays = camera / camera[..., 2:]
            if not undistort:
                radius = (rays[..., :2] ** 2).sum(-1, keepdims=True)
                assert sample.cameras.distortion is not None
                rays[..., :2] *= 1 + sample.cameras.distortion[:, None, :1] * radius
            pixels = np.einsum("vij,vkj->vki", K, rays)[..., :2]
            there = sample.visibility > 0
            np.testing.assert_allclose(64 * sample.keypoints_yx[..., ::-1][there], pixels[there], atol=1e-3)
        assert store.info.undistorted is undistort
        assert store.info.attributes["has_distortion"] == (not undistort)


def test_pictures_are_one_warp_of_the_video(made: Made, tmp_path: Path) -> None:
    folder, session = made
    with _written(folder, tmp_path / "x.h5") as store:
        sample = store.read(2)
        rig = session.calibration.rig
        assert sample.cameras is not None
        assert sample.cameras.crop_affine is not None
        with Video(folder / "cam1" / "cam1.avi") as video:
            image = torch.from_numpy(video.frame(2)).permute(2, 0, 1)[None]
        affine = torch.tensor([[[64 / SIZE[1], 0, 0], [0, 64 / SIZE[0], 0]]], dtype=torch.float64)
        warped = camera_warp(image, rig.K[1:2], rig.distortion[1:2], affine, size=(64, 64))
        assert sample.jpegs[1] == encode_rgb(warped[0], ".jpg", 95)
        np.testing.assert_array_equal(sample.cameras.crop_affine[1], affine[0].float())
        assert sample.cameras.size.tolist() == [[64, 64]] * 3
        assert sample.cameras.raw_size is not None
        assert sample.cameras.raw_size.tolist() == [[SIZE[1], SIZE[0]]] * 3


def test_every_dataset_has_the_type_of_the_schema(made: Made, tmp_path: Path) -> None:
    _written(made[0], tmp_path / "x.h5").close()
    with h5py.File(tmp_path / "x.h5") as file:
        for field in FIELDS.values():
            want = h5py.string_dtype() if field.dtype is str else np.dtype(field.dtype)
            assert file[field.path].dtype == want, field.path
            assert file[field.path].shape == (3, *field.shape(Dimensions(3, 17)))
        assert all(h5py.check_vlen_dtype(file[jpeg_path(view)].dtype) == np.uint8 for view in range(3))
        metadata = file["metadata"].attrs
        assert (metadata["schema_version"], metadata["pixel_convention"]) == (2, "edge")
        assert (metadata["world_unit"], metadata["world_scale"]) == ("mm", 0.001)
        assert (metadata["n_joints"], metadata["n_pose"], metadata["backbone_name"]) == (17, 16, "")
        assert json.loads(metadata["views_per_sample"]) == {"3": 3}
        assert json.loads(file["metadata/session_counts"][0])["frames thinned out"] == 17
        assert b"walk/calibration.toml" in file["metadata/source_files"][()].tolist()
        assert len(file["metadata/source_sha256"][0]) == 64


def test_a_slot_is_a_camera_in_all_sessions(made: Made, tmp_path: Path) -> None:
    """Canonical order is that of the names, whatever views a session has; a missing view is told by masks."""
    other = shutil.copytree(made[0], tmp_path / "other")
    (other / "cam1").rename(other / "cam9")
    cameras = read_recording(made[0]).calibration
    assert cameras is not None
    write_calibration(
        other / "calibration.toml", Calibration(("cam0", "cam9", "cam2"), cameras.rig, cameras.sizes)
    )
    recordings = [read_recording(other), read_recording(made[0])]
    spec = PreprocessSpec(size=32, max_frames=2)
    preprocess(recordings, tmp_path / "x.h5", spec)
    with SampleStore(tmp_path / "x.h5") as store:
        assert store.info.camera_names == ("cam0", "cam1", "cam2", "cam9")
        assert store.samples.sessions.tolist() == ["other"] * 2 + ["walk"] * 2
        assert (
            store.samples.view_mask.tolist()
            == [[True, False, True, True]] * 2 + [[True, True, True, False]] * 2
        )
        renamed, plain = store.read(0), store.read(2)
        assert renamed.cameras is not None
        assert plain.cameras is not None
        assert renamed.jpegs[3] == plain.jpegs[1] != b""
        assert renamed.jpegs[1] == b""
        assert renamed.cameras.known.tolist() == [True, False, True, True]
        np.testing.assert_array_equal(renamed.cameras.K[3], plain.cameras.K[1])
        np.testing.assert_array_equal(renamed.keypoints_yx[3], plain.keypoints_yx[1])
        assert not renamed.cameras.K[1].any()
    with pytest.raises(ValueError, match=r"`max_views` must be at least the 4 cameras .*--leave_out"):
        preprocess(recordings, tmp_path / "y.h5", PreprocessSpec(max_views=3))
    with pytest.raises(ValueError, match=r"of different names; got walk, walk"):
        preprocess([recordings[1]] * 2, tmp_path / "y.h5", spec)


def test_without_cameras_there_are_none(made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made[0], tmp_path / "walk")
    (folder / "calibration.toml").unlink()
    with _written(folder, tmp_path / "x.h5") as store:
        sample = store.read(0)
        assert sample.cameras is None
        assert not store.info.undistorted
        assert not store.info.attributes["has_camera_parameters"]
    with h5py.File(tmp_path / "x.h5") as file:
        assert not file[FIELDS["has_camera"].path][()].any()
        assert not file[FIELDS["camera_extrinsics_R"].path][()].any()  # never the identity


def test_points_in_space_can_be_left_out(made: Made, tmp_path: Path) -> None:
    with _written(made[0], tmp_path / "x.h5", no_3d_data=True) as store:
        sample = store.read(0)
        assert sample.points is None
        assert sample.points_valid is None
        assert sample.cameras is not None
        assert sample.betas is None
        assert sample.global_rot is None


def test_no_sample_is_an_error_with_the_reasons(made: Made, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"frame that 4 views with a video see; got walk: 20 frames.*--min_views"
    ):
        _written(made[0], tmp_path / "x.h5", min_views=4)
    assert not list(tmp_path.iterdir())
