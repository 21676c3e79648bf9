"""On PYTHONPATH, makes the packages of $REFKP_BLOCKED (by import name, with commas) look as if they were not there."""

import os
from importlib.machinery import PathFinder

_BLOCKED = frozenset(os.environ.get("REFKP_BLOCKED", "").split(","))
_find_spec = PathFinder.find_spec


@classmethod  # bound to its class, as the original is: others keep it as an attribute of theirs
def _find_what_is_left(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in _BLOCKED else _find_spec(name, path, target)


PathFinder.find_spec = _find_what_is_left
