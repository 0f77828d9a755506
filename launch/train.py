"""`python -m launch.train …` in a checkout is `aila train …` after an installation.

    python -m launch.train --config=launch/configs/small.py --config.model.d_model=256 --workdir=runs/x

`--help` explains every flag.
"""

import sys

from aila_jax.cli.main import entry

if __name__ == "__main__":
    entry(["train", *sys.argv[1:]], program="python -m launch.train")
