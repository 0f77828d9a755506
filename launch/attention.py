"""`python -m launch.attention …` in a checkout is `aila attention …` after an installation.

    python -m launch.attention --checkpoint=runs/x --text='Return a new list' --lam=0,0.5,1

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["attention", *sys.argv[1:]], program="python -m launch.attention"))
