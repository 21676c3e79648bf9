"""`refkp multiview migrate`: older files of samples become those of today."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from refkp.commands import parsed, parser, require_file
from refkp.data.units import Unit

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_COMMAND = "refkp multiview migrate"
_EXAMPLE = f"{_COMMAND} OLD.h5 NEW.h5 --world_unit mm"


def migrate(argv: list[str]) -> int:
    """Rewrite a file of samples of an older version: a slot for each camera, the unit told, the same pictures."""
    options = parsed(_parser(), argv)
    require_file(_COMMAND, "new", options.new)

    from refkp.systems.multiview.store.migrate import migrate as rewrite

    count = rewrite(options.old, options.new, options.world_unit)
    print(f"{options.new}: {count} samples")
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, migrate.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("old", type=Path, metavar="OLD.h5", help="file to read")
    add("new", type=Path, metavar="NEW.h5", help="file to write")
    unit = "of the calibration, where the file tells none"
    add("--world_unit", choices=get_args(Unit), metavar="UNIT", help=f"{unit}: {', '.join(get_args(Unit))}")
    return command
