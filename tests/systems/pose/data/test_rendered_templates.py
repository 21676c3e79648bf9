"""Templates of a set without any: those of its models, beside which they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp._files import write_json
from refkp.data.meshes import save_mesh
from refkp.data.shapes import make_object
from refkp.systems.pose.data.models import ModelSet, info_entry
from refkp.systems.pose.data.rendered_templates import RenderedTemplates
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.templates.cached import cache_file
from refkp.systems.pose.templates.rendering import rendered_views


def test_they_are_the_views_of_the_models(tmp_path: Path) -> None:
    meshes = {4: make_object("box", seed=3), 9: make_object("mug", seed=3)}
    write_json(
        tmp_path / "models" / "models_info.json", {str(key): info_entry(mesh) for key, mesh in meshes.items()}
    )
    for obj_id, mesh in meshes.items():
        save_mesh(mesh, tmp_path / "models" / f"obj_{obj_id:06d}.obj")
    models = ModelSet(tmp_path)
    source = RenderedTemplates(models, level=0)
    assert source.obj_ids == (4, 9)
    cache = TemplateCache(source, 24)
    for obj_id in (9, 4, 9):
        wanted = rendered_views(models.mesh(obj_id), 24, level=0)
        assert torch.equal(source.poses(obj_id), wanted.cam_from_obj)
        chosen = torch.tensor([41, 0, 7])
        assert all(map(torch.equal, source.views(obj_id, chosen, 24), wanted.select(chosen)))
        assert all(map(torch.equal, cache.views(obj_id, chosen)[:2], wanted.select(chosen)[:2]))
        assert cache_file(models.mesh(obj_id), 24, tmp_path / "models", level=0).is_file()
