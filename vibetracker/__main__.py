"""``python -m vibetracker`` is the command ``vibetracker``."""

import sys

from vibetracker.cli import main

sys.exit(main())
