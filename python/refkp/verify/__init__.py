"""Golden verification: every case of a golden folder against the public functions of refkp.

Read in this order: `manifest` (the folder), `registry` and the adapter modules named after the systems,
`compare` (the rule), `runner` (a case on its backends), `report` (table and JSON), `command` (the command
line).
"""

from refkp.verify.command import main
from refkp.verify.manifest import GoldenError
from refkp.verify.runner import Row, run

__all__ = ["GoldenError", "Row", "main", "run"]
