"""`python -m lipverify.cli`."""

import sys

from lipverify.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
