"""Copy the committed golden cases from a full golden collection.

    python scripts/copy_golden.py FULL_COLLECTION [--to golden]

The copy has one subfolder per system with a manifest of the same schema, restricted to the functions below.
Panorama cases that embed a CC BY-SA photograph are not among them, and pictures of a branded texture are
dropped from the one case that has them; the functions do not read them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

FUNCTIONS = {
    "keypoints": (
        "affine_theta",
        "affine_forward_inverse",
        "affine_warp",
        "warp_with_fill",
        "equivariance_loss",
        "masked_equivariance",
    ),
    "multiview": (
        "augment_scale",
        "camera_opencv_p3d",
        "canonical_frame",
        "curriculum",
        "decoder_layer",
        "distortion",
        "fusion_cross_view",
        "lbs",
        "loss_camera",
        "loss_joint_angle",
        "loss_kp2d_masked",
        "loss_kp2d_visibility_weighted",
        "loss_kp3d_masked",
        "loss_rotation_frobenius",
        "metrics",
        "p3d_fov_camera",
        "p3d_perspective_camera",
        "pca_scale_trans",
        "pipeline_kp2d",
        "preprocess_geometry",
        "rotations",
        "soft_silhouette",
        "triangulate_differentiable",
        "triangulate_dlt",
    ),
    "panorama": (
        "e2p_py360",
        "e2c_py360",
        "equi2pers_equilib",
        "anyres_layout",
        "tile_pairs",
        "token_overlap",
        "vicreg_facebook",
        "vicreg_lightly",
        "vicreg_pairwise_pld",
        "vicreg_strip_sequential",
        "vicreg_facebook_ddp2",
        "vicregl_lightly",
        "vicreg_anyres_ring",
        "densecl_strip",
        "pano_contrastive",
        "global_local",
        "panorope_ids",
        "view_stitch",
        "language_fuse",
        "view_metrics",
        "caption_metrics",
    ),
    "pose": (
        "aa_module",
        "bop_metrics",
        "classification_head",
        "classification_loss",
        "correspondence_builder",
        "croco_decoder",
        "croco_encoder",
        "crop",
        "dense_flow_head",
        "epropnp",
        "flow_ground_truth",
        "flow_ground_truth_real",
        "flow_ground_truth_roma",
        "flow_loss",
        "flow_visualisation",
        "global_attention_rope_mask",
        "patch_labels",
        "pose_from_matches",
        "rope2d",
        "s2rope",
        "template_selection",
        "template_views",
        "weight_regularization",
    ),
}

#: Cases left out: they carry the body that others modelled.
LEFT_OUT = {"lbs__stick_model"}
#: Arrays left out, by case.
DROPPED = {"real_flow_fuze": ("rgb_q", "rgb_t")}


def main() -> None:
    """Copy every system and print what was copied."""
    parser = argparse.ArgumentParser(
        description="Copy the committed golden cases from a full golden collection."
    )
    parser.add_argument("source", type=Path, help="folder with one SYSTEM/manifest.json per system")
    parser.add_argument("--to", type=Path, default=Path(__file__).resolve().parents[1] / "golden")
    options = parser.parse_args()
    for system, functions in FUNCTIONS.items():
        copy_system(options.source / system, options.to / system, functions)


def copy_system(source: Path, target: Path, functions: tuple[str, ...]) -> None:
    """Replace the manifest and arrays of one system by the cases of `functions`."""
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    cases = [
        case for case in manifest["cases"] if case["function"] in functions and case["id"] not in LEFT_OUT
    ]
    absent = set(functions) - {case["function"] for case in cases}
    if absent:
        raise SystemExit(f"{source}: no case of {', '.join(sorted(absent))}.")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for case in cases:
        copy_case(case, source, target)
    manifest["cases"] = cases
    manifest["functions"] = {name: manifest["functions"][name] for name in functions}
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (target / "manifest.json").write_text(text + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in target.iterdir())
    print(f"{target}: {len(cases)} cases, {size / 1e6:.2f} MB")


def copy_case(case: dict[str, Any], source: Path, target: Path) -> None:
    """Copy the arrays of one case, and take the dropped ones out of its manifest entry."""
    dropped = DROPPED.get(case["id"], ())
    if not dropped:
        shutil.copyfile(source / case["file"], target / case["file"])
        return
    case["arrays"] = {name: spec for name, spec in case["arrays"].items() if name not in dropped}
    with np.load(source / case["file"]) as archive:
        arrays = {name: archive[name] for name in case["arrays"]}
    np.savez_compressed(target / case["file"], **arrays)


if __name__ == "__main__":
    main()
