"""Models and tokenizers of others: what cannot be loaded is an error that names the source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from refkp._checks import fail


@contextmanager
def loading(function: str, source: str) -> Iterator[None]:
    """Around `from_pretrained`: its errors become one line that names `source`."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        remedy = "Name a model of the Hugging Face hub that can be reached, or a local folder with its files."
        fail(function, "source", "a model that can be loaded", f"{source!r}: {reason}", remedy)
