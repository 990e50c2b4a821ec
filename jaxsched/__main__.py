"""`python -m jaxsched`, the same as the command `jaxsched`."""

import sys

from jaxsched.cli import main

if __name__ == "__main__":
    sys.exit(main())
