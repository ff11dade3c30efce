"""Run `python -m ben_luigi COMMAND`, which is the same as `ben-luigi COMMAND`."""

import sys

from ben_luigi.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
