"""`python -m launch.certify …` in a checkout is `aila certify …` after an installation.

    python -m launch.certify --checkpoint=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["certify", *sys.argv[1:]], program="python -m launch.certify"))
