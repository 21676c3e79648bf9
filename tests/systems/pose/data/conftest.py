"""A small generated data set: pictures, models and templates."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pose_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of two generated objects, 64 x 96 pixels, and 42 templates of each."""
    pytest.importorskip("embreex", reason="needs the extra `pose`")
    pytest.importorskip("rich", reason="needs the extra `train`")
    pytest.importorskip("PIL", reason="needs the extra `viz`")
    pytest.importorskip("cv2", reason="needs the extra `pose`")
    pytest.importorskip("trimesh", reason="needs the extra `pose`")
    from refkp.data.shapes import make_object
    from refkp.systems.pose.data.generator import generate_scenes
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.data.spec import GeneratorSpec
    from refkp.systems.pose.templates.rendering import render_templates

    out = tmp_path_factory.mktemp("pose") / "root"
    models = {1: make_object("box", seed=0), 2: make_object("l_block", seed=0)}
    generate_scenes(models, out, GeneratorSpec(8, size=(64, 96), samples=1, scenes_per_shard=4), seed=1)
    K = ((80.0, 0.0, 24.0), (0.0, 80.0, 24.0), (0.0, 0.0, 1.0))
    for obj_id in models:
        render_templates(ModelSet(out).mesh(obj_id), obj_id, out / "templates", level=0, size=(48, 48), K=K)
    return out
