"""Poses of held-out pictures by SIFT and PnP, beside which learned poses are to be read.

    python scripts/compare_sift.py FOLDER... [--size 224] [--limit N]

FOLDER is one of `refkp pose generate --templates_level 1`. The pictures and templates are the crops that a network of
`--size` pixels would see. Printed are the share of pictures with a pose, of those off by 20 degrees at most, and the
median rotation error over all pictures, one without a pose being infinitely wrong.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from refkp._progress import progress_bar
from refkp.commands import table
from refkp.peers.sift_pnp import Keypoints, sift_keypoints, sift_pose
from refkp.systems.pose.data.datamodule import open_dataset
from refkp.systems.pose.inference.confidence import RIGHT_DEG
from refkp.systems.pose.inference.evaluation import object_models
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.metrics.pose_errors import pose_errors
from refkp.systems.pose.views import Views


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=224, help="side of the crops in pixels")
    parser.add_argument("--limit", type=int, help="only the first pictures")
    options = parser.parse_args(arguments)
    rows = []
    for folder in options.folders:
        errors = list(rotation_errors(folder, options.size, options.limit))
        posed = sum(map(math.isfinite, errors)) / len(errors)
        right = sum(error <= RIGHT_DEG for error in errors) / len(errors)
        rows.append((folder.name, len(errors), posed, right, statistics.median(errors)))
    print(table(("", "pictures", "with a pose", "right", "median deg"), rows))
    return 0


def rotation_errors(folder: Path, size: int, limit: int | None) -> Iterator[float]:
    """Degrees, under the symmetries of the objects; infinite without a pose."""
    dataset = open_dataset(folder, size, limit=limit)
    templates = dataset.templates
    objects = object_models(dataset.models, templates.store.obj_ids)
    known: dict[int, tuple[Views, list[Keypoints]]] = {}
    for number in progress_bar(range(len(dataset)), folder.name):
        sample = dataset[number]
        if sample.obj_id not in known:
            views = templates.views(sample.obj_id, torch.arange(len(templates.store.poses(sample.obj_id))))
            known[sample.obj_id] = (views, sift_keypoints(views))
        found = sift_pose(sample.query, *known[sample.obj_id])
        if isinstance(found, EstimateFailure):
            yield math.inf
            continue
        truth = sample.query.cam_from_obj[None]
        yield float(
            pose_errors(found.cam_from_obj[None], truth, objects[sample.obj_id].symmetries).rotation_deg
        )


if __name__ == "__main__":
    raise SystemExit(main())
