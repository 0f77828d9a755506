"""What a wrong call is told: the nearest name, or value, limit and fix."""

import re

import pytest

from aila_jax.cli.main import main

CHECKPOINT = "--checkpoint=c"
TRAIN = ("train", "--config=tiny", "--workdir=w")


def refused(capsys, *arguments: str) -> str:
    """The one line of a call that is refused."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("arguments", "wrong", "near"),
    [
        ((*TRAIN, "--steps=3"), "--steps", "--config.train.steps"),
        ((*TRAIN, "--learning-rate=3"), "--learning-rate", "--config.train.learning_rate"),
        ((*TRAIN, "--seed=3"), "--seed", "--config.seed"),
        ((*TRAIN, "--workdirr=x"), "--workdirr", "--workdir"),
        (("generate", CHECKPOINT, "--prompt=p", "--temperature=1"), "--temperature", "--sample_temperature"),
        (("generate", CHECKPOINT, "--promt=p"), "--promt", "--prompt"),
        (("evaluate", CHECKPOINT, "--lambda=1"), "--lambda", "--lam"),
        (("sweep", CHECKPOINT, "--lam=0,1"), "--lam", "--lams"),
        (("sweep", CHECKPOINT, "--batch=4"), "--batch", "--batch_size"),
        (("report", "--checkpoint=c", "--sweeps=c"), "--sweeps", "--sweep"),
        (("--versoin",), "--versoin", "--version"),
        (("--hlep",), "--hlep", "--help"),
        (("evalute",), "evalute", "evaluate"),
    ],
)
def test_a_wrong_name_gets_the_nearest(runs, capsys, arguments, wrong, near):
    assert re.search(
        rf"unknown (flag|command) '{wrong}'; did you mean '{near}'\?", refused(capsys, *arguments)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", CHECKPOINT, "--zzzz=1"), "unknown flag '--zzzz'. Fix: aila evaluate --help lists its"),
        (("--checkpoint=c", "evaluate"), "unknown command '--checkpoint=c'; the command comes first"),
        ((*TRAIN, "--config.steps=3"), "unknown config key 'steps'; did you mean 'train.steps'?"),
        ((*TRAIN, "--config.zzz=3"), "unknown config key 'zzz'; known keys: anchors."),
    ],
)
def test_a_name_without_a_near_one_gets_the_next_step(runs, capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate", CHECKPOINT, "--lam=much"),
            "--lam is 'much'; it must be a number in [0, 1]. Fix: choose λ",
        ),
        (("evaluate", CHECKPOINT, "--tau=warm"), "--tau is 'warm'; it must be a number from 1e-06 to 1e+06."),
        (
            ("evaluate", CHECKPOINT, "--hard=maybe"),
            "--hard is 'maybe'; it must be true or false. Fix: --hard",
        ),
        (("evaluate", CHECKPOINT, "--window=x"), "--window is 'x'; it must be a whole number"),
        (
            ("evaluate", CHECKPOINT, "--batch_size=2.5"),
            "--batch_size is '2.5'; it must be a whole number, at least 1. Fix: set --batch_size=1",
        ),
        (("evaluate", CHECKPOINT, "--batch_size=0"), "--batch_size is 0; it must be at least 1."),
        (
            ("generate", CHECKPOINT, "--prompt=p", "--seed=x"),
            "--seed is 'x'; it must be a whole number in [0,",
        ),
        (
            ("generate", CHECKPOINT, "--prompt=p", "--sample_temperature=hot"),
            "--sample_temperature is 'hot'; it must be finite and at least 0. Fix: 0 is greedy",
        ),
        (
            ("certify", CHECKPOINT, "--target_mass=x"),
            "--target_mass is 'x'; it must be a number above 0 and below 1",
        ),
        (
            ("sweep", CHECKPOINT, "--lams=a,b"),
            "--lams is 'a,b'; it must be numbers with commas between them. Fix: --lams=0,0.5,1, say",
        ),
        (("attention", CHECKPOINT, "--text=t", "--layers=all"), "Fix: --layers=0,1,2, say"),
        (
            (*TRAIN, "--config.train.steps=many"),
            "--config.train.steps is 'many'; it must be a whole number. Fix: --config.train.steps=900, say",
        ),
        ((*TRAIN, "--config.train.steps=1e3"), "--config.train.steps is '1e3'; it must be a whole number."),
        ((*TRAIN, "--config.train.learning_rate=a: b"), "rate is 'a: b'; it must be a number."),
        ((*TRAIN, "--config.model.film=maybe"), "--config.model.film is 'maybe'; it must be true or false."),
    ],
)
def test_a_value_of_the_wrong_type_gets_value_limit_and_fix(runs, capsys, arguments, message):
    assert message in refused(capsys, *arguments)
