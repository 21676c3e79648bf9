"""What is said of cameras without a label: of their matrices, their lenses, and the size of their pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.systems.multiview.data.generator import make_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.inspection.cameras import inspect_cameras
from refkp.systems.multiview.inspection.files import VideoFacts
from refkp.systems.multiview.inspection.findings import DOUBTFUL_CAMERAS, IMPOSSIBLE_CAMERAS, Finding
from refkp.systems.multiview.session import Labels, Recording, View

WRONG = 1
SPEC = SessionSpec(num_frames=1, num_views=3)  # 640x480, focal lengths near 552 px


def findings(
    *, video: tuple[int, int] | None = None, size: tuple[int, int] | None = None, **parts: list[float]
) -> list[Finding]:
    """Of three cameras, one of which has other `K` (3x3, flat), `distortion` or `R`, and maybe another size."""
    calibration = make_session(SPEC, seed=5).calibration
    rig = calibration.rig._replace(**{name: getattr(calibration.rig, name).clone() for name in parts})
    for name, values in parts.items():
        getattr(rig, name)[WRONG] = torch.tensor(values).reshape(getattr(rig, name)[WRONG].shape)
    sizes = calibration.sizes.clone()
    if size is not None:
        sizes[WRONG] = torch.tensor(size)
    no_labels = Labels(np.zeros(0, int), np.zeros((0, 1, 0, 2)), np.zeros((0, 1, 0)), np.zeros((0, 1), bool))
    views = tuple(View(name, no_labels, Path(name), ()) for name in calibration.names)
    recording = Recording(
        "walk", Path("walk"), (), (), ("",), views, calibration._replace(rig=rig, sizes=sizes)
    )
    videos = {} if video is None else {calibration.names[WRONG]: VideoFacts(video, 10, 30.0)}
    return list(inspect_cameras(recording, videos))


def matrix(
    focal: float = 552, skew: float = 0, centre: tuple[float, float] = (320, 240), low: float = 0
) -> list[float]:
    return [focal, skew, centre[0], low, focal, centre[1], 0, 0, 1]


def test_usual_cameras_raise_nothing() -> None:
    assert findings() == []
    assert findings(K=matrix(skew=0.1), video=(640, 480)) == []
    for distortion in ([-0.36, 0, 0, 0, 0], [0.4, 0, 0, 0, 0], [-0.6, 0.5, 0.002, -0.002, -0.2]):
        assert findings(K=matrix(), distortion=distortion) == []
    assert (
        findings(K=matrix(focal=3000), distortion=[-9, 0, 0, 0, 0]) == []
    )  # it folds outside of the picture


@pytest.mark.parametrize(
    ("distortion", "radius"),
    [([-9, 0, 0, 0, 0], 71), ([-1, 0, 0, 0, 0], 212), ([0, -8, 0, 0, 0], 175), ([0, 0, 0, 0, -200], 142)],
)
def test_a_lens_that_folds_in_the_picture_is_named(distortion: list[float], radius: int) -> None:
    (found,) = findings(K=matrix(), distortion=distortion)
    assert (found.kind, found.where) == ("folding lens", "cam1")
    told = int(found.measured.split("folds over ")[1].split()[0])
    assert abs(told - radius) <= 3  # of the 200 places that are tried
    assert "the nearest side of the picture is 240 px away" in found.measured


def test_tangential_coefficients_fold_too() -> None:
    (found,) = findings(K=matrix(), distortion=[0, 0, 2, 2, 0])
    assert found.kind == "folding lens"


@pytest.mark.parametrize(
    ("K", "kind", "words"),
    [
        (matrix(skew=5), "skewed camera matrix", "K[0,1] is 5 px"),
        (matrix(skew=-0.8), "skewed camera matrix", "K[0,1] is -0.8 px"),
        (matrix(focal=0), "no camera matrix", "focal length 0"),
        (matrix(low=5), "no camera matrix", "not upper triangular"),
        (matrix(centre=(160, 120)), "K of another size", "principal point (160, 120) of pictures of 640x480"),
    ],
)
def test_a_matrix_that_is_none_is_named(K: list[float], kind: str, words: str) -> None:
    (found,) = findings(K=K)
    assert (found.kind, found.where) == (kind, "cam1")
    assert words in found.measured


@pytest.mark.parametrize(
    ("size", "video", "centre", "kind", "remedy"),
    [
        ((1280, 960), (640, 480), (320, 240), "wrong size in the file", "Write 640x480 as its size"),
        ((480, 640), (640, 480), (330, 230), "wrong size in the file", "K stays"),
        ((320, 240), (640, 480), (160, 120), "K of another size", "Scale K and size"),
        ((1280, 960), (640, 480), (640, 480), "K of another size", "Scale K and size"),
        ((640, 480), (640, 400), (320, 240), "K of another size", "Calibrate with pictures of that size"),
        ((1280, 960), (640, 480), (20, 20), "K of another size", "Scale K and size"),
    ],
)
def test_what_does_not_fit_the_video_is_told(
    size: tuple[int, int], video: tuple[int, int], centre: tuple[float, float], kind: str, remedy: str
) -> None:
    (found,) = findings(K=matrix(1104, centre=centre), size=size, video=video)
    assert (found.kind, found.where) == (kind, "cam1")
    assert remedy in found.remedy


def test_every_fault_of_a_file_alone_is_known_to_those_who_refuse() -> None:
    faults = [
        *findings(R=[1, 0, 0, 0, 1, 0, 0, 0, -1]),
        *findings(K=matrix(low=5)),
        *findings(K=matrix(skew=5)),
        *findings(K=matrix(), distortion=[-9, 0, 0, 0, 0]),
        *findings(K=matrix(), size=(1280, 960), video=(640, 480)),
        *findings(K=matrix(centre=(640, 480))),
    ]
    assert len({finding.kind for finding in faults}) == 6
    assert {finding.kind for finding in faults} <= {*IMPOSSIBLE_CAMERAS, *DOUBTFUL_CAMERAS}
