"""SIFT and PnP find a textured object without training, and give none where there is no texture."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")

from refkp.data.shapes import make_object
from refkp.geometry.rotations import rotation_angle_between
from refkp.peers.sift_pnp import sift_keypoints, sift_pose
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.ransac import PnPPose
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.rendered import held_out_views, template_views

MESH = make_object("box", seed=0)


@pytest.fixture(scope="module")
def templates() -> Views:
    return template_views(MESH, level=0)


def test_a_textured_object_is_found(templates: Views) -> None:
    query = held_out_views(MESH, 1).select(0)
    found = sift_pose(query, templates, sift_keypoints(templates))
    assert isinstance(found, PnPPose), found
    angle = rotation_angle_between(found.cam_from_obj[:3, :3], query.cam_from_obj[:3, :3])
    assert math.degrees(float(angle)) < 2.0


def test_without_texture_there_is_no_pose(templates: Views) -> None:
    some = templates.select(slice(3))
    plain = some._replace(images=torch.full_like(some.images, 0.5))
    found = sift_pose(plain.select(0), plain, sift_keypoints(plain))
    assert isinstance(found, EstimateFailure)
    assert found.reason == "too_few_matches"
