"""Rendered views beside the mesh: bit for bit what rendering gives, never of another mesh, never half a file."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.meshes import Mesh
from refkp.data.shapes import make_object
from refkp.systems.pose.templates import cached
from refkp.systems.pose.templates.cached import cache_file, cached_views
from refkp.systems.pose.templates.rendering import rendered_views
from refkp.systems.pose.views import Views

SIZE = 20


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return make_object("l_block", seed=11)


@pytest.fixture(scope="module")
def views(mesh: Mesh) -> Views:
    return rendered_views(mesh, SIZE, level=0)


@pytest.fixture
def rendered(views: Views, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each rendering."""
    count: list[int] = []

    def counted(mesh: Mesh, size: int, **options: Any) -> Views:
        count.append(size)
        return views

    monkeypatch.setattr(cached, "rendered_views", counted)
    return count


def same(one: Views, other: Views) -> bool:
    return all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(one, other, strict=True))


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_second_time_nothing_is_rendered(
    mesh: Mesh, views: Views, rendered: list[int], tmp_path: Path
) -> None:
    for _ in range(3):
        assert same(cached_views(mesh, SIZE, tmp_path, level=0), views)
    assert len(rendered) == 1
    assert list(tmp_path.rglob("*.*")) == [
        tmp_path / ".refkp_templates",
        cache_file(mesh, SIZE, tmp_path, level=0),
    ]


def test_the_same_content_has_one_key(mesh: Mesh, tmp_path: Path) -> None:
    copy = Mesh(
        mesh.vertices.copy(), mesh.faces.copy(), mesh.uv, tuple(part.copy() for part in mesh.textures)
    )
    assert cache_file(copy, 32, tmp_path) == cache_file(mesh, 32, tmp_path)


def test_whatever_changes_the_pictures_changes_the_key(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mesh.uv is not None
    (texture,) = mesh.textures
    changed = texture.copy()
    changed[3, 5, 1] ^= 1
    turned = texture.reshape(texture.shape[0] * 2, -1, 3)  # the same bytes
    of_face = np.zeros(len(mesh.faces), np.int64)
    colours = np.full((len(mesh.vertices), 3), 9, np.uint8)
    others = [
        replace(mesh, vertices=mesh.vertices + 1e-9),
        replace(mesh, faces=mesh.faces[:-1]),
        replace(mesh, uv=mesh.uv * 0.999),
        replace(mesh, textures=(changed,)),
        replace(mesh, textures=(turned,)),
        replace(mesh, textures=(texture, texture)),
        replace(mesh, face_texture=of_face),
        replace(mesh, vertex_colours=colours),
        replace(mesh, uv=None, textures=()),
    ]
    keys = [cache_file(other, 32, tmp_path) for other in (mesh, *others)]
    keys += [cache_file(mesh, 33, tmp_path), cache_file(mesh, 32, tmp_path, level=2)]
    for name in ("_VERSION", "SAMPLES"):
        with monkeypatch.context() as patch:
            patch.setattr(cached, name, 77)
            keys.append(cache_file(mesh, 32, tmp_path))
    assert len(set(keys)) == len(keys)


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        content[len(content) // 2] ^= 8
    elif kind == "cut":
        content = content[: len(content) // 3]
    elif kind == "empty":
        content.clear()
    elif kind == "text":
        content = bytearray(b"not found")
    path.unlink()
    if kind == "an array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "other names":
        np.savez(path, pictures=np.zeros(3))
    elif kind == "other shapes":
        np.savez(path, **dict.fromkeys(("images", "depth", "K", "cam_from_obj"), np.zeros(3, np.float32)))
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(
    "kind", ["flipped", "cut", "empty", "text", "an array", "other names", "other shapes"]
)
def test_a_damaged_file_is_rendered_anew(
    mesh: Mesh, views: Views, rendered: list[int], tmp_path: Path, kind: str
) -> None:
    cached_views(mesh, SIZE, tmp_path, level=0)
    damage(cache_file(mesh, SIZE, tmp_path, level=0), kind)
    with pytest.warns(UserWarning, match="is damaged .* rendered anew"):
        assert same(cached_views(mesh, SIZE, tmp_path, level=0), views)
    assert same(cached_views(mesh, SIZE, tmp_path, level=0), views)  # it was mended
    assert len(rendered) == 2


def test_a_folder_that_cannot_be_written_is_told(
    mesh: Mesh, views: Views, rendered: list[int], tmp_path: Path
) -> None:
    (tmp_path / ".refkp_templates").write_text("a file where the folder should be")
    for _ in range(2):
        with pytest.warns(UserWarning, match="are not kept for the next run: cannot write"):
            assert same(cached_views(mesh, SIZE, tmp_path, level=0), views)
    assert len(rendered) == 2


def test_an_interrupted_write_leaves_nothing(
    mesh: Mesh, rendered: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, **arrays: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.warns(UserWarning, match="No space left"):
        cached_views(mesh, SIZE, tmp_path, level=0)
    assert list((tmp_path / ".refkp_templates").iterdir()) == []


def test_a_cache_may_be_deleted(mesh: Mesh, rendered: list[int], tmp_path: Path) -> None:
    cached_views(mesh, SIZE, tmp_path, level=0)
    shutil.rmtree(tmp_path / ".refkp_templates")
    cached_views(mesh, SIZE, tmp_path, level=0)
    assert len(rendered) == 2


def test_options_that_change_no_picture_are_passed_on(mesh: Mesh, tmp_path: Path) -> None:
    views = cached_views(mesh, SIZE, tmp_path, level=0, workers=2)
    assert same(views, cached_views(mesh, SIZE, tmp_path, level=0))
