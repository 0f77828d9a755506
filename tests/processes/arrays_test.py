"""Two processes with two devices each: a batch that each has a part of, arrays that each has whole, and when
they stop.
"""

import json

import numpy as np

from tests.support.several import free_port, start

PROGRAM = """
import json, os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
from aila_jax.config.options import ProcessOptions
from aila_jax.processes.join import joined

port, number = int(sys.argv[1]), int(sys.argv[2])
place = ProcessOptions(coordinator=f"127.0.0.1:{port}", processes=2, process=number, wait=60)
with joined(place, "test"):
    import jax, numpy as np
    from aila_jax.processes import here
    from aila_jax.training.loop import LAG
    from aila_jax.training.sharding import batch_sharding, gathered
    from aila_jax.training.stopping import TrainingStopped
    from aila_jax.training.vote import StopVote

    sharding = batch_sharding(8)
    rows = sharding.rows_here(8)
    whole = np.arange(24, dtype=np.float32).reshape(8, 3)
    own = sharding.shard_own(whole[rows], 8)
    vote, stops = StopVote(), {}
    for step in range(1, 40):
        asked = TrainingStopped(step, 10) if number == 1 and step >= 5 else None
        if stop := vote(step, asked):
            stops = {"step": stop.step, "signum": stop.signum}
            break
    print("not shown by the second one")
    said = {
        "rows": [rows.start, rows.stop], "processes": here.count(), "index": here.index(), "lag": LAG,
        "own": gathered(own).tolist(), "sum": float(jax.jit(lambda x: x.sum())(own)),
        "shared": gathered(sharding.shard(whole)).tolist(), "copied": gathered(sharding.replicate(whole)).tolist(),
        "parts": {str(part.index[0].start): part.data.tolist() for part in own.addressable_shards}, "stops": stops,
    }
    print(json.dumps(said), file=sys.stderr)
"""


def test_parts_and_whole_arrays_and_the_vote_to_stop(tmp_path):
    port = str(free_port())
    with start(tmp_path, [["-c", PROGRAM, port, str(number)] for number in range(2)]) as job:
        ends = job.all_ended()
    assert [end.code for end in ends] == [0, 0], ends
    assert [end.out for end in ends] == ["not shown by the second one\n", ""]
    whole = np.arange(24).reshape(8, 3)
    for number, end in enumerate(ends):
        said = json.loads(end.error.splitlines()[-1])
        assert (said["processes"], said["index"]) == (2, number)
        assert said["rows"] == [4 * number, 4 * number + 4]
        for name in ("own", "shared", "copied"):
            np.testing.assert_array_equal(said[name], whole, err_msg=name)
        assert said["sum"] == whole.sum()
        held = {str(first): whole[first : first + 2].tolist() for first in (4 * number, 4 * number + 2)}
        assert said["parts"] == held
        # Said after step 5, heard by both so many steps later.
        assert said["stops"] == {"step": 5 + said["lag"], "signum": 10}
