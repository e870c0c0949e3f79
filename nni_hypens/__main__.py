"""``python -m nni_hypens`` is the command ``nni-hypens``."""

import sys

from nni_hypens.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
