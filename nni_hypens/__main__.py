"""``python -m nni_hypens`` is the command ``nni-hypens``."""

import sys

from nni_hypens.utils.paths import drop_working_folder

if __name__ == "__main__":
    drop_working_folder()
    try:
        from nni_hypens.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
