"""`refkp pose infer` end to end: its pose, its files, and the mistakes that it names."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")
pytest.importorskip("embreex")
pytest.importorskip("jsonargparse")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from PIL import Image

from refkp import __version__
from refkp.cli import main
from refkp.data.meshes import Mesh, save_mesh
from refkp.data.rendering import MeshRenderer
from refkp.data.shapes import make_object
from refkp.systems.pose.inference import estimator
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.ground_truth import TargetPredictor
from refkp.systems.pose.model.spec import AttentionSpec, ClassifierSpec, EncoderSpec, FlowSpec, VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.templates.rendering import render_templates, rendered_views
from refkp.systems.pose.views import Views
from refkp.training.checkpoint import KEY

SIZE = (120, 160)
K = ((150.0, 0.0, 80.0), (0.0, 150.0, 60.0), (0.0, 0.0, 1.0))
SPEC = VpogSpec(
    EncoderSpec(dim=32, depth=1, heads=2, patch_size=8, image_size=64),
    AttentionSpec(depth=1, window=4, drop_path=0.0),
    ClassifierSpec(hidden_dim=16, out_dim=8),
    FlowSpec(hidden=(16,)),
)


def true_pose() -> torch.Tensor:
    """Where the object is in the photo."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    pose[:3, 3] = torch.tensor([20.0, -10.0, 350.0])
    return pose


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return make_object("box", seed=1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, mesh: Mesh) -> Path:
    """A photo, its camera and masks, a mesh, 42 templates of it, and an untrained run."""
    folder = tmp_path_factory.mktemp("infer")
    seen = MeshRenderer([mesh]).render(true_pose()[None].numpy(), np.array(K), SIZE)
    Image.fromarray(seen.rgb).save(folder / "photo.png")
    mask = (seen.instance >= 0).astype(np.uint8) * 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(0 * mask).save(folder / "empty.png")
    (folder / "camera.json").write_text(json.dumps({"K": K}))
    save_mesh(mesh, folder / "object.obj")
    render_templates(mesh, 7, folder / "templates", level=0, size=SIZE, K=K)
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in Vpog(SPEC).state_dict().items()}
    about = {"system": "pose", "version": __version__, "specs": {"model": asdict(SPEC)}}
    torch.save({KEY: about, "state_dict": weights}, folder / "run.ckpt")
    return folder


def command(folder: Path, out: Path, **changes: Any) -> list[str]:
    """The arguments of a call that works, with changes; None leaves one out."""
    options: dict[str, Any] = {
        "mesh": folder / "object.obj",
        "unit": "mm",
        "camera": folder / "camera.json",
        "run": folder / "run.ckpt",
        "mask": folder / "mask.png",
        "templates": folder / "templates",
        "out": out,
    }
    options |= changes
    words = [
        [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
        for name, value in options.items()
        if value is not None
    ]
    return ["pose", "infer", str(folder / "photo.png"), *(word for group in words for word in group)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, inputs: Path, mesh: Mesh) -> None:
    """The truth speaks instead of the untrained model."""

    def predictor(model: Vpog, bank: TemplateBank, query: Views) -> TargetPredictor:
        shown = bank.depth > 0
        templates = Views(
            torch.zeros(len(shown), 3, *shown.shape[1:]), shown, bank.depth, bank.K, bank.cam_from_obj
        )
        depth = MeshRenderer([mesh]).render_depth(true_pose()[None].numpy(), query.K.numpy(), query.size)
        known = query._replace(depth=torch.from_numpy(depth), cam_from_obj=true_pose())
        return TargetPredictor(known, templates, SPEC.encoder.patch_size)

    monkeypatch.setattr(estimator, "ModelPredictor", predictor)


@pytest.mark.parametrize("mode", ["cluster", "global"])
def test_the_pose_and_its_files(
    trained: None, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    assert main(command(inputs, tmp_path, mode=mode)) == 0
    record = json.loads((tmp_path / "pose.json").read_text())
    np.testing.assert_allclose(record["cam_R_m2c"], true_pose()[:3, :3].flatten(), atol=2e-3)
    np.testing.assert_allclose(record["cam_t_m2c"], true_pose()[:3, 3], atol=0.5)
    assert record["num_inliers"] > 100
    assert 0 < record["sigma_deg"] < 1
    variances = dict(zip(record["covariance_order"], np.diag(record["covariance"]), strict=True))
    in_mm = sum(value for name, value in variances.items() if re.fullmatch("t_[xyz]_mm", name))
    in_rad = sum(value for name, value in variances.items() if re.fullmatch("r_[xyz]_rad", name))
    assert np.sqrt(in_mm) == pytest.approx(record["sigma_mm"])
    assert np.degrees(np.sqrt(in_rad)) == pytest.approx(record["sigma_deg"])
    assert Image.open(tmp_path / "overlay.png").size[0] > 300
    printed = capsys.readouterr().out
    assert "score" in printed
    assert "1 sigma" in printed
    assert "mm" in printed


def test_templates_are_rendered_where_none_are_given(
    trained: None, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: the next run takes those beside the mesh."""
    from refkp.systems.pose.templates import cached

    rendered = []

    def small(mesh: Mesh, size: int, **options: Any) -> Views:
        rendered.append(size)
        return rendered_views(mesh, size, level=0, picture_size=SIZE, K=K)

    monkeypatch.setattr(cached, "rendered_views", small)
    for _ in range(2):
        assert main(command(inputs, tmp_path, templates=None)) == 0
        record = json.loads((tmp_path / "pose.json").read_text())
        np.testing.assert_allclose(record["cam_t_m2c"][2], 350.0, atol=1.0)
    assert len(rendered) == 1


def test_an_untrained_model_gives_no_pose(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(inputs, tmp_path)) == 1
    assert "no pose (" in capsys.readouterr().out
    record = json.loads((tmp_path / "pose.json").read_text())
    assert "failure" in record
    assert "cam_R_m2c" not in record
    assert not (tmp_path / "overlay.png").exists()


def test_a_mesh_without_colours_is_told(
    trained: None, mesh: Mesh, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in mesh.vertices] + [
        f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces
    ]
    (tmp_path / "bare.obj").write_text("\n".join(lines))
    assert main(command(inputs, tmp_path, mesh=tmp_path / "bare.obj")) == 0
    assert "no texture and no vertex colours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "got neither"),
        ({"box": (1, 1, 9, 9)}, "got both"),
        ({"mask": "empty.png"}, "`mask` must be not empty"),
        ({"mask": None, "box": (100, 10, 200, 50)}, "`box` must be"),
        ({"unit": "m"}, "--unit|unit"),
        ({"obj_id": 3}, r"one of \[7\]"),
        ({"templates": None, "obj_id": 3}, "--templates"),
        ({"camera": "mask.png"}, "is not JSON"),
        ({"mesh": "nothing.obj"}, "nothing.obj"),
        ({"run": "camera.json"}, "checkpoint"),
    ],
)
def test_mistakes_are_named(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    import re

    changes = {
        name: inputs / value if isinstance(value, str) and "." in value else value
        for name, value in changes.items()
    }
    assert main(command(inputs, tmp_path, **changes)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("refkp: ")
    assert re.search(message, printed), printed


def test_the_unit_is_needed(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(command(inputs, tmp_path, unit=None))
    assert "unit" in capsys.readouterr().err
