"""A small template store that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 42 views of an L-shaped block, object 7, at 120 x 160 pixels."""
    pytest.importorskip("embreex", reason="needs the extra `pose`")
    pytest.importorskip("PIL", reason="needs the extra `viz`")
    pytest.importorskip("trimesh", reason="needs the extra `pose`")
    from refkp.data.shapes import make_object
    from refkp.systems.pose.templates.rendering import render_templates
    from refkp.systems.pose.templates.store import LINEMOD_K

    root = tmp_path_factory.mktemp("templates")
    quarter = tuple(tuple(value / 4 for value in row) for row in LINEMOD_K[:2])
    K = (*quarter, (0.0, 0.0, 1.0))
    render_templates(make_object("l_block", seed=7), 7, root, level=0, K=K, size=(120, 160))
    return root
