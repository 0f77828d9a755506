"""`python -m launch.generate …` in a checkout is `aila generate …` after an installation.

    python -m launch.generate --checkpoint=runs/x --prompt="The town" --lam=0.6

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]], program="python -m launch.generate"))
