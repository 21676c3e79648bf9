"""Reading a checkpoint of any system: what was trained, from which specs, with which weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail

#: Where a checkpoint of Lightning holds what is ours.
KEY = "refkp"


class Checkpoint(NamedTuple):
    """What of a checkpoint is needed to use its model."""

    path: Path
    version: str  # of refkp, that wrote it
    specs: Mapping[
        str, Any
    ]  # plain values: networks, losses, and under "data" how the model was shown its data
    state_dict: Mapping[str, Tensor]  # of the Lightning module

    def weights(self, part: str = "model") -> dict[str, Tensor]:
        """The weights of one attribute of the module, by their names in it."""
        prefix = f"{part}."
        return {
            name.removeprefix(prefix): value
            for name, value in self.state_dict.items()
            if name.startswith(prefix)
        }


def read_checkpoint(path: Path | str, system: str) -> Checkpoint:
    """A checkpoint that a training of `system` wrote; no code in it is run.

    Raises:
        OSError: it cannot be opened.
        ValueError: not a whole checkpoint, or one of another system.
    """
    rule = f"a whole checkpoint of `refkp train {system}`"
    saved = load_whole(path, rule)
    ours = saved[KEY]
    if ours["system"] != system:
        fail("read_checkpoint", "path", rule, f"one of system {ours['system']!r}: {str(path)!r}")
    return Checkpoint(Path(path), ours["version"], ours["specs"], saved["state_dict"])


def load_whole(
    path: Path | str, rule: str = "a whole checkpoint of `refkp train`", map_location: Any = "cpu"
) -> dict[str, Any]:
    """Everything in a checkpoint; `rule` says in errors what the file must be, the others as in `read_checkpoint`."""
    try:
        saved = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # whatever a file of another content leads to
        if isinstance(error, OSError) and error.filename is not None:
            raise  # it cannot be opened
        saved = {}
    if not isinstance(saved, dict) or KEY not in saved:
        remedy = "A run goes on without a broken last.ckpt only from its beginning: `--fresh`."
        fail(
            "read_checkpoint", "path", rule, repr(str(path)), remedy if Path(path).name == "last.ckpt" else ""
        )
    return saved
