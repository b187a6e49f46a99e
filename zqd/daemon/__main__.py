"""`python -m zqd.daemon` is `zqd`."""

import sys

from zqd.daemon import main

if __name__ == "__main__":
    sys.exit(main())
