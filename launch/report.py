"""`python -m launch.report …` in a checkout is `aila report …` after an installation.

    python -m launch.report --sweep=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]], program="python -m launch.report"))
