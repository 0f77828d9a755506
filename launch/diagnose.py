"""`python -m launch.diagnose …` in a checkout is `aila diagnose …` after an installation.

    python -m launch.diagnose --checkpoint=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["diagnose", *sys.argv[1:]], program="python -m launch.diagnose"))
