"""The optional packages: which extra brings each, and the ImportError that says so."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

#: Extra -> its packages by import name. A structure test holds it against pyproject.toml.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("lightning", "jsonargparse", "torchmetrics", "tensorboard", "rich"),
    "viz": ("matplotlib", "PIL"),
    "multiview": ("h5py", "sleap_io", "pandas", "tables", "cv2", "matplotlib", "PIL"),
    "pose": ("trimesh", "embreex", "cv2", "PIL"),
    "panorama": ("transformers", "peft", "PIL"),
    "pytorch3d": ("pytorch3d",),
    "triton": ("triton",),
    "dev": (
        *(
            "nox",
            "pytest",
            "pytest_benchmark",
            "hypothesis",
            "xdist",
            "pytest_timeout",
            "ruff",
            "mypy",
            "triton",
        ),
        *("py360convert", "cv2"),  # peers of the benchmarks
    ),
}


def extras_of(module: str) -> list[str]:
    """The extras that bring the package of `module`.

    >>> extras_of("lightning.pytorch")
    ['train']
    """
    package = module.partition(".")[0]
    return [extra for extra, packages in EXTRAS.items() if package in packages]


def missing_packages(extra: str) -> list[str]:
    """The packages of an extra that are not installed; nothing is imported to find out."""
    return [package for package in EXTRAS[extra] if importlib.util.find_spec(package) is None]


def missing_message(module: str) -> str | None:
    """What to install when `module` is missing, or None for a package of no extra.

    >>> missing_message("matplotlib.pyplot")
    "the package matplotlib is not installed; pip install 'refkp[viz]'"
    """
    extras = extras_of(module)
    if not extras:
        return None
    return f"the package {module.partition('.')[0]} is not installed; pip install 'refkp[{extras[0]}]'"


@contextmanager
def named_extras() -> Iterator[None]:
    """Every import of an optional package stands below this: a package that is missing becomes an error that names
    its extra.

        with named_extras():
            from PIL import Image

    Raises:
        ModuleNotFoundError: (an ImportError) what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = missing_message(error.name or "")
        if message is None:
            raise
        raise ModuleNotFoundError(message, name=error.name) from None
