"""Rendering of templates: the poses, the command, and that processes change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp import cli
from refkp.data.meshes import Mesh, save_mesh
from refkp.data.shapes import make_object
from refkp.geometry.icosphere import icosphere_views
from refkp.systems.pose.templates.rendering import (
    camera_distance,
    render_templates,
    rendered_views,
    template_poses,
)
from refkp.systems.pose.templates.store import TemplateStore

SMALL_K = ((60.0, 0.0, 32.0), (0.0, 60.0, 24.0), (0.0, 0.0, 1.0))


def moved(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices + np.array([10, -300, 70]), mesh.faces, mesh.uv, mesh.textures)


def test_cameras_look_at_the_middle_of_the_mesh_as_it_is() -> None:
    mesh = moved(make_object("box", seed=0))
    poses = template_poses(mesh, 0)
    middle = poses[:, :3, :3] @ torch.from_numpy(mesh.centre) + poses[:, :3, 3]
    distance = torch.tensor([0, 0, camera_distance(mesh)]).double()
    torch.testing.assert_close(middle, distance.expand(42, 3))
    torch.testing.assert_close(-poses[:, 2, :3], icosphere_views(0))


def test_where_the_mesh_lies_changes_the_poses_alone(tmp_path: Path) -> None:
    mesh = make_object("box", seed=0)
    for name, place in (("here", mesh), ("there", moved(mesh))):
        render_templates(place, 1, tmp_path / name, level=0, K=SMALL_K, size=(48, 64))
    here, there = (TemplateStore(tmp_path / name) for name in ("here", "there"))
    one, other = here.views(1, range(8), 32), there.views(1, range(8), 32)
    assert (one.masks == other.masks).float().mean() > 0.999
    assert (one.images - other.images).abs().mean() < 1e-3
    assert not torch.allclose(one.cam_from_obj, other.cam_from_obj)


def test_views_in_memory_are_those_of_the_store_but_for_its_depth_steps(tmp_path: Path) -> None:
    mesh = make_object("mug", seed=2)
    render_templates(mesh, 1, tmp_path, level=0, K=SMALL_K, size=(48, 64), depth_steps_per_mm=5.0)
    stored = TemplateStore(tmp_path).views(1, range(42), 32)
    direct = rendered_views(mesh, 32, level=0, K=SMALL_K, picture_size=(48, 64))
    for name in ("images", "masks", "K", "cam_from_obj"):
        assert torch.equal(getattr(direct, name), getattr(stored, name)), name
    assert torch.equal(direct.depth > 0, stored.depth > 0)
    assert 0.02 < float((direct.depth - stored.depth).abs().max()) < 0.1 + 1e-4  # half a step


@pytest.mark.slow
def test_processes_change_nothing_in_memory() -> None:
    mesh = make_object("t_block", seed=1)
    one, two = (
        rendered_views(mesh, 16, level=0, K=SMALL_K, picture_size=(48, 64), workers=workers)
        for workers in (1, 2)
    )
    assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path) -> None:
    mesh = make_object("t_block", seed=1)
    for workers in (1, 2):
        render_templates(mesh, 1, tmp_path / str(workers), level=0, K=SMALL_K, size=(48, 64), workers=workers)
    files = [sorted((tmp_path / name).rglob("*.*")) for name in ("1", "2")]
    assert len(files[0]) == 2 * 42 + 3
    for one, other in zip(*files, strict=True):
        assert one.relative_to(tmp_path / "1") == other.relative_to(tmp_path / "2")
        assert one.read_bytes() == other.read_bytes()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh = make_object("l_block", seed=1)
    save_mesh(Mesh(mesh.vertices, mesh.faces), tmp_path / "grey.obj")
    arguments = ["pose", "render-templates", str(tmp_path / "grey.obj"), "--out", str(tmp_path / "store")]
    arguments += ["--level", "0", "--obj_id", "12"]
    assert cli.main([*arguments, "--unit", "mm"]) == 0
    output = capsys.readouterr()
    assert "no texture" in output.err
    assert f"diameter {mesh.diameter:.1f} mm" in output.out
    assert TemplateStore(tmp_path / "store").poses(12).shape == (42, 4, 4)
    assert cli.main([*arguments, "--unit", "m"]) == cli.USAGE_ERROR
    assert "may be in" in capsys.readouterr().err


def test_errors(tmp_path: Path) -> None:
    mesh = make_object("l_block", seed=1)
    with pytest.raises(ValueError, match="`obj_id` must be 0 or more"):
        render_templates(mesh, -1, tmp_path)
    with pytest.raises(ValueError, match="`workers` must be at least 1"):
        render_templates(mesh, 1, tmp_path, workers=0)
    flat = Mesh(np.array([[0, 0, -50.0], [80, 0, -50], [0, 0, 50]]), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"nothing in view 0. Is the mesh flat"):
        render_templates(flat, 1, tmp_path, level=0, K=SMALL_K, size=(48, 64))
    assert (
        TemplateStore(tmp_path, scale_factor=1.0).obj_ids == ()
        if (tmp_path / "object_poses").exists()
        else True
    )
