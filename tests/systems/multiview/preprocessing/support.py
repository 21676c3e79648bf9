"""What tests of preprocessing share: small sessions, and the digest of a file's arrays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np

from refkp.systems.multiview.data.generator import MadeUpSession, generate_session
from refkp.systems.multiview.data.spec import SessionSpec

SIZE = (120, 160)


def small_session(folder: Path, **changes: object) -> MadeUpSession:
    """A made-up session of 20 frames in 3 views, its labels exact."""
    options = {"num_frames": 20, "num_views": 3, "size": SIZE, "noise_px": 0.0, **changes}
    return generate_session(folder, SessionSpec(**options), seed=3)  # type: ignore[arg-type]


def arrays_digest(path: Path) -> str:
    """SHA-256 of all datasets by name, pictures and texts included."""
    total = hashlib.sha256()
    with h5py.File(path) as file:
        names: list[str] = []
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        for name in sorted(names):
            values = file[name][()]
            total.update(f"{name} {file[name].dtype} {file[name].shape}".encode())
            parts = values.ravel() if file[name].dtype.kind == "O" else [values]
            for part in parts:
                data = part if isinstance(part, bytes) else np.asarray(part).tobytes()
                total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()
