"""NEW OP: the checks of tests/support, errors, conventions, laws."""
