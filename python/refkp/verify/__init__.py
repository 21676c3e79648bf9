"""Golden verification: every case of a golden folder against the public functions of refkp.

Read in this order: `manifest` (the folder), `registry` and the adapter modules named after the systems,
`compare` (the rule), `runner` (a case on its backends), `report` (table and JSON), `command` (the command
line).
"""

#: The backends on which the cases of ops run.
BACKENDS = ("reference", "native", "triton")
