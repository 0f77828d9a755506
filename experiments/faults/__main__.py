"""Faults that are injected, and whether each promise of docs/reliability.md is kept.

    sh launch/faults.sh                                   # all of them, in hours
    python -m experiments.faults --scale=small            # fewer of each, in minutes
    python -m experiments.faults --only=SIGKILL --out=my
    python -m experiments.faults --without                # each with a protection taken out: it must break

writes one JSON file a promise into --out, which a later call leaves alone, and then table.md. The exit code
is 1 where a promise is broken. `--only` takes the beginnings of promises. `--collect` makes the table from
the files that are there.
"""

import sys

from absl import flags

from experiments import launcher

FLAGS = launcher.FLAGS


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    launcher.define_results("reliability", values)
    flags.DEFINE_enum("scale", "whole", ["small", "whole"], "How much is injected.", values)
    flags.DEFINE_bool(
        "without", False, "Take a protection out of each promise's build; it must break.", values
    )


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from experiments.faults import report
    from experiments.faults.promises import PROMISES, SCALES, tried
    from experiments.faults.without import tried_without

    out = launcher.out_folder()
    for name in FLAGS.only:
        if not any(promise.startswith(name) for promise in PROMISES):
            raise ValueError(
                f"--only is {name!r}; it must be the beginning of one of {', '.join(PROMISES)}. Fix: --only=SIGKILL"
            )
    for promise in PROMISES if not FLAGS.collect else ():
        if FLAGS.only and not any(promise.startswith(name) for name in FLAGS.only):
            continue
        path = (report.without_file_of if FLAGS.without else report.file_of)(out, promise)
        if path.is_file():
            print(f"{promise}: tried already")
            continue
        if FLAGS.without:
            tried_without(promise, path)
            continue
        found = tried(promise, SCALES[FLAGS.scale])
        report.write(found, FLAGS.scale, out)
        print(f"{promise}: {found.kept} of {found.cases}, {found.seconds:.0f} s", file=sys.stderr, flush=True)
    text, broken = report.collect(out)
    print(text)
    if broken:
        raise ValueError(f"broken: {', '.join(broken)}. Fix: see {out}")


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
