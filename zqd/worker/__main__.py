"""`python -m zqd.worker`."""

import sys

from zqd.worker.program import main

sys.exit(main())
