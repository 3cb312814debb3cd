"""`python -m calltune`, for where the command itself is not on the path."""

import sys

from calltune.cli import main

sys.exit(main())
