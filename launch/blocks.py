"""`python -m launch.blocks …` in a checkout is `aila blocks …` after an installation.

    python -m launch.blocks --checkpoint=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["blocks", *sys.argv[1:]], program="python -m launch.blocks"))
