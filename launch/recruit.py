"""`python -m launch.recruit …` in a checkout is `aila recruit …` after an installation.

    python -m launch.recruit --config=tiny

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["recruit", *sys.argv[1:]], program="python -m launch.recruit"))
