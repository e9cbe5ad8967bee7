"""``python -m parasim``."""

import sys

from parasim.cli import main

sys.exit(main())
