"""`python -m refkp` is the `refkp` command."""

import sys

from refkp.cli import main

sys.exit(main())
