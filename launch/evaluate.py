"""`python -m launch.evaluate …` in a checkout is `aila evaluate …` after an installation.

    python -m launch.evaluate --checkpoint=runs/x --lam=0.6

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]], program="python -m launch.evaluate"))
