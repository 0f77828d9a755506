"""`python -m launch.sweep …` in a checkout is `aila sweep …` after an installation.

    python -m launch.sweep --checkpoint=runs/x --lams=0,0.5,1

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import entry

if __name__ == "__main__":
    entry(["sweep", *sys.argv[1:]], program="python -m launch.sweep")
