"""`python -m launch.influence …` in a checkout is `aila influence …` after an installation.

    python -m launch.influence --checkpoint=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["influence", *sys.argv[1:]], program="python -m launch.influence"))
