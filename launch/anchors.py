"""`python -m launch.anchors …` in a checkout is `aila anchors …` after an installation.

    python -m launch.anchors --checkpoint=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["anchors", *sys.argv[1:]], program="python -m launch.anchors"))
