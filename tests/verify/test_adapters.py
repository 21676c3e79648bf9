"""The adapters against the committed golden cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.ops import OPS
from refkp.systems import SYSTEMS
from refkp.systems.pose.model.alternating import AlternatingAttention
from refkp.systems.pose.model.spec import AttentionSpec
from refkp.verify.command import default_golden
from refkp.verify.originals.croco_decoder import CrocoDecoder
from refkp.verify.registry import adapters
from refkp.verify.runner import run
from refkp.verify.skipped import SKIPPED

GOLDEN = default_golden()

#: Functions whose cases embed a CC BY-SA photograph, so only a full collection beside the checkout has them.
WITH_A_PHOTOGRAPH = {("panorama", name) for name in ("e2p_py360_uint8", "anyres_pack", "crop_strategies")}


def committed_functions(system: str) -> set[str]:
    manifest = json.loads((GOLDEN / system / "manifest.json").read_text())
    return {case["function"] for case in manifest["cases"]}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_adapter_has_a_committed_case_and_every_case_an_adapter(system: str) -> None:
    left_out = {function for name, function in WITH_A_PHOTOGRAPH if name == system}
    assert set(adapters(system)) == committed_functions(system) | left_out


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_function_is_both_offered_and_skipped(system: str) -> None:
    assert not {(system, function) for function in adapters(system)} & SKIPPED.keys()


@pytest.mark.parametrize("system", SYSTEMS)
def test_adapters_name_ops_that_exist(system: str) -> None:
    assert {entry.op for entry in adapters(system).values()} <= {None, *OPS}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_committed_cases_pass(system: str, backend: str) -> None:
    rows = run(GOLDEN, system=system, backend=backend)
    assert [(row.id, row.status, row.reason) for row in rows if row.status != "pass"] == []


@pytest.mark.parametrize(("encoder_dim", "dim", "mlp_ratio"), [(24, 16, 2.0), (16, 24, 3.0), (16, 16, 4.0)])
def test_a_decoder_of_any_width(encoder_dim: int, dim: int, mlp_ratio: float) -> None:
    decoder = CrocoDecoder(encoder_dim, dim, 2, 2, mlp_ratio=mlp_ratio).eval()
    arrays = {f"w/{name}": value for name, value in decoder.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    arrays |= {name: torch.randn(1, 6, encoder_dim, generator=generator) for name in ("x", "y")}
    arrays["pos"] = torch.cartesian_prod(torch.arange(2), torch.arange(3))[None]
    params = {"dim": dim, "heads": 2, "depth": 2, "rope_base": 100, "ln_eps": 1e-6}
    got = adapters("pose")["croco_decoder"].adapter(params, arrays, None)
    want = decoder(arrays["x"], arrays["y"], arrays["pos"], arrays["pos"])
    torch.testing.assert_close(got["decoder_out"], want)
    assert ("block_out" in got) == (encoder_dim == dim)


def call(function: str, params: Mapping[str, Any], **arrays: Tensor) -> Mapping[str, Any]:
    return adapters("keypoints")[function].adapter(params, arrays, "reference")


def theta_batch(count: int) -> Tensor:
    return torch.eye(2, 3, dtype=torch.float64) + 0.1 * torch.randn(count, 2, 3, dtype=torch.float64)


def test_projections_are_optional() -> None:
    results = call("affine_warp", {}, in_maps=torch.rand(2, 1, 4, 5), in_theta=theta_batch(2).float())
    assert {"out_forward", "out_inverse", "out_valid_fwd", "out_valid_inv"} == set(results)


def test_fill_may_be_per_channel() -> None:
    image, theta = torch.rand(2, 3, 6, 5, dtype=torch.float64), theta_batch(2)
    fill = [0.1, 0.5, 0.9]
    results = call("warp_with_fill", {"fill": fill}, in_img=image, in_theta=theta)
    for channel, value in enumerate(fill):
        single = call(
            "warp_with_fill", {"fill": value}, in_img=image[:, channel : channel + 1], in_theta=theta
        )
        torch.testing.assert_close(results["out_out"][:, channel : channel + 1], single["out_out"])
        constant = results["out_out_of_constant"][:, channel]
        torch.testing.assert_close(constant, torch.full_like(constant, value))


def test_equivariance_takes_one_index_or_several() -> None:
    maps, transformed = torch.rand(2, 5, 5, dtype=torch.float64), torch.rand(3, 2, 5, 5, dtype=torch.float64)
    arrays = {"in_maps": maps, "in_maps_transformed": transformed, "in_theta": theta_batch(3)}
    singles = [call("equivariance_loss", {}, **arrays, in_index=torch.tensor(index)) for index in (2, 0)]
    both = call("equivariance_loss", {}, **arrays, in_index=torch.tensor([2, 0]))
    torch.testing.assert_close(both["out_loss"], sum(single["out_loss"] for single in singles) / 2)
    gradients = torch.stack([single["out_grad_maps_transformed"] for single in singles])
    torch.testing.assert_close(both["out_grad_maps_transformed"], gradients / 2)
    assert singles[0]["out_grad_maps"].shape == maps.shape


def test_masked_equivariance_takes_one_item_or_a_batch() -> None:
    maps, transformed = torch.rand(2, 3, 3, 6, 6, dtype=torch.float64)
    theta = theta_batch(3)
    batch = call("masked_equivariance", {}, in_maps=maps, in_maps_transformed=transformed, in_theta=theta)
    assert batch["out_coverage"].shape == (3, 6, 6)
    single = call(
        "masked_equivariance", {}, in_maps=maps[1], in_maps_transformed=transformed[1], in_theta=theta[1:2]
    )
    torch.testing.assert_close(single["out_coverage"], batch["out_coverage"][1])


@pytest.mark.parametrize("level", [0, 2])
def test_template_views_of_other_levels(level: int) -> None:
    results = adapters("pose")["template_views"].adapter({"level": level, "radius": 500.0}, {}, None)
    assert results["directions"].shape == (results["levels_counts"][level], 3)
    torch.testing.assert_close(
        results["cam_poses"][:, :3, 3] / 500, results["directions"], atol=1.3e-5, rtol=0
    )


def test_flow_is_judged_on_depth_alone_and_labels_on_the_mask() -> None:
    depth, K = torch.full((16, 16), 100.0), torch.eye(3, dtype=torch.float64)
    pose, mask = torch.eye(4, dtype=torch.float64), torch.zeros(16, 16, dtype=torch.bool)
    arrays = {"K_q": K, "K_t": K, "pose_q": pose, "pose_t": pose[None], "mask_q": mask}
    arrays |= {"depth_q": depth, "depth_t": depth[None]}
    half = {"half_depth_q": depth, "half_depth_t": depth[None]}
    sizes = {"H": 16, "W": 16, "patch_size": 8}
    tolerances = {"tol_abs_mm": 5.0, "tol_rel": 0.0}
    flow = adapters("pose")["flow_ground_truth"].adapter(sizes | tolerances, arrays | half, "reference")
    assert flow["nearest_visible"].all()
    tolerances = {"tol_template_units": 5.0, "tol_query_mm": 5.0, "scale": 1.0}
    labels = adapters("pose")["patch_labels"].adapter(sizes | tolerances, arrays, "reference")
    assert (labels["nearest_patch_cls"] == -1).all()
    assert not labels["tq_nearest_visible"].any()


def test_without_turned_templates_their_fraction_is_not_read() -> None:
    sizes = {
        "dim": 8,
        "depth": 1,
        "heads": 2,
        "window": 1,
        "grid": [1, 2],
        "rope_base": 100.0,
        "mlp_ratio": 4,
    }
    module = AlternatingAttention(AttentionSpec(depth=1, window=1, position="none"), 8, 2, (1, 2))
    arrays = {f"w/{name}": weight for name, weight in module.state_dict().items()}
    arrays |= {"q_tokens": torch.rand(1, 2, 8), "t_tokens": torch.rand(1, 1, 3, 8)}
    arrays |= {"pos2d": torch.zeros(1, 2, 2, dtype=torch.int64), "template_poses": torch.eye(4)[None, None]}
    run_attention = adapters("pose")["aa_module"].adapter
    none, half = (
        run_attention(sizes | {"use_so3": False, "so3_frac": part}, arrays, None) for part in (0.0, 0.5)
    )
    torch.testing.assert_close(none["out_t"], half["out_t"], atol=0, rtol=0)
