"""Which label stands for which joint of a body. Source: spec multiview a.7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.multiview.body.csv_rows import csv_rows

#: How many joints two skeletons have to share before one is taken for the other.
_FEWEST = 3


def joint_map(
    body_joints: Sequence[str], labels: Sequence[str], table: Mapping[str, str] | None = None
) -> Tensor:
    """The label of each joint: int64 [J], -1 for a joint that none stands for.

    Args:
        body_joints: J names.
        labels: names of the labelled points.
        table: joint -> label; None: of the same name, or of the one that differs in upper and lower case alone.

    Raises:
        ValueError: a name of the table that is on neither side, a label for two joints, or fewer than three joints
            with a label.
    """
    if table is None:
        table = _by_name(body_joints, labels)
    for joint, label in table.items():
        if joint not in body_joints:
            fail("joint_map", "table", f"of joints of the body, {', '.join(body_joints)}", repr(joint))
        if label not in labels:
            fail("joint_map", "table", f"of labels of the recording, {', '.join(labels)}", repr(label))
    if len(set(table.values())) < len(table):
        twice = next(label for label in table.values() if list(table.values()).count(label) > 1)
        fail("joint_map", "table", "of one joint for each label", f"two for {twice!r}")
    if len(table) < _FEWEST:
        remedy = "Write a table with the columns `model` (joint) and `data` (label), and name it by --joints."
        got = f"{len(table)} of the labels {', '.join(labels)}; the joints are {', '.join(body_joints)}"
        fail("joint_map", "labels", f"names of at least {_FEWEST} joints of the body", got, remedy)
    number = {label: index for index, label in enumerate(labels)}
    return torch.tensor([number[table[joint]] if joint in table else -1 for joint in body_joints])


def _by_name(joints: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Joint -> label, of those that are certain."""
    table = {}
    for joint in joints:
        alike = (
            [joint]
            if joint in labels
            else [label for label in labels if label.casefold() == joint.casefold()]
        )
        if len(alike) == 1:
            table[joint] = alike[0]
    return table


def read_joint_table(path: Path | str) -> dict[str, str]:
    """The table of a CSV file with the columns `model` and `data`; rows with an empty field are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or a joint is named twice.
    """
    columns, rows = csv_rows(path, "read_joint_table")
    if not {"model", "data"} <= set(columns):
        got = ", ".join(columns) or "an empty file"
        fail("read_joint_table", str(path), "with the columns model and data", got)
    table: dict[str, str] = {}
    for row in rows:
        if row["model"] in table:
            fail("read_joint_table", str(path), "with each joint once", f"{row['model']!r} twice")
        if row["model"] and row["data"]:
            table[row["model"]] = row["data"]
    return table
