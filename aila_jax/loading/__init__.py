"""From a path to a model: checkpoints of runs, alone or on the base that they began from."""
