"""`python -m zqd.ctl` is `zqctl`."""

import sys

from zqd.ctl.program import main

sys.exit(main())
