"""`python -m launch COMMAND …` in a checkout is `aila COMMAND …` after an installation.

    python -m launch evaluate --checkpoint=runs/x --lam=0.6

`python -m launch --help` lists the commands. `launch.train` and `launch.sweep` are the same as `launch train`
and `launch sweep`.
"""

from aila_jax.cli.main import entry

if __name__ == "__main__":
    entry(program="python -m launch")
