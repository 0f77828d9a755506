"""The other commands: what they call, what they print, and their exit codes."""

import dataclasses
import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import aila_jax
from aila_jax import presets
from aila_jax import runs as runs_module
from aila_jax.cli.commands import COMMANDS, localise
from aila_jax.cli.main import main, parse
from aila_jax.config import PartitionConfig, SettingsConflict
from aila_jax.config.options import (
    CertifyOptions,
    EvaluateOptions,
    GenerateOptions,
    LocaliseOptions,
    OpenOptions,
    PlanOptions,
    PopulationOptions,
    ProcessOptions,
    RecruitOptions,
    ScoreOptions,
    SweepOptions,
)
from aila_jax.runs.workdir import RunMoved
from aila_jax.training.logs import LogUnwritable
from aila_jax.training.stopping import TrainingStopped

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = {"split": "train", "batches": 0, "top": 20, "examples": 8, "data_dir": "", "out": ""}
SEGMENTS = replace(presets.small(), partition=PartitionConfig(kind="segments"))
RECRUITED = replace(presets.small(), partition=PartitionConfig(kind="recruited", start=3))
SCORING = {
    "split": None,
    "hard": None,
    "window": None,
    "data_dir": "",
    "batch_size": None,
    "max_batches": None,
    "part": None,
}
CERTIFY = {
    "lam": 1.0,
    "tau": 1.0,
    "length": None,
    "bound": "auto",
    "arithmetic": None,
    "target_mass": 0.9,
    "text": None,
    "flow": False,
    "position": None,
    "prompt": None,
    "max_tokens": None,
    "out": "",
    **SCORING,
}
ATTENTION = {
    "lam": (0.0, 0.5, 1.0),
    "tau": 1.0,
    "layers": None,
    "heads": None,
    "by_word": False,
    "mean_heads": False,
    "mean_layers": False,
    "npz": "",
}
SCORE = {
    "text": "",
    "file": "",
    "by_line": False,
    "lam": (0.0,),
    "tau": (1.0,),
    "stride": None,
    "line_start": False,
    "unit": "nats",
    "hard": None,
    "batch_size": 8,
    "top": 0,
}
ANSWER = {
    "lam": 1.0,
    "tau": 1.0,
    "mode": "isolated",
    "capacity": 128,
    "max_tokens": 32,
    "stop": None,
    "chat": False,
    "pairs": False,
    "shapley": 0,
    "seed": 0,
    "abstain": None,
    "cache_dir": "",
    "cache_mib": 2048,
    "header": None,
    "passage_form": None,
    "question_form": None,
}
GENERATE = {
    "prompt": "",
    "prompt_file": "",
    "lam": 0.0,
    "tau": 1.0,
    "max_tokens": 64,
    "sample_temperature": 0.8,
    "top_k": 40,
    "top_p": 1.0,
    "logprobs": None,
    "seed": 0,
    "samples": 1,
    "stop": None,
    "chat": False,
    "stream": False,
}
TEST = {"split": "test", "data_dir": "d"}

CONFIG = {True: ["--config=tiny"], False: []}
REPORT = {
    "beside": "", "log": "", "checkpoint": "", "text": "", "layers": None, "heads": None, "prompt": "",
    "sample_tokens": 32, "fallback": False, "out": "",
}  # fmt: skip
READING = {name: value for name, value in SCORING.items() if name not in ("max_batches", "part")}
INFLUENCE = {
    "lams": None,
    "tau": 1.0,
    "positions": 256,
    "draws": 4,
    "seed": 0,
    "without_attention": False,
    "out": "",
    **READING,
}


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("evaluate --checkpoint=c", ("evaluate", ("c",), {"lam": 0.0, "tau": 1.0, **SCORING})),
        (
            (
                "evaluate --checkpoint=c --lam=1 --tau=0.5 --hard --split=test --window=3 --data_dir=d"
                " --batch_size=4 --max_batches=2"
            ),
            (
                "evaluate",
                ("c",),
                {
                    "lam": 1.0,
                    "tau": 0.5,
                    "hard": True,
                    "split": "test",
                    "window": 3,
                    "data_dir": "d",
                    "batch_size": 4,
                    "max_batches": 2,
                    "part": None,
                },
            ),
        ),
        (
            "evaluate --checkpoint=c --nohard",
            ("evaluate", ("c",), {"lam": 0.0, "tau": 1.0, **SCORING, "hard": False}),
        ),
        (
            "sweep --checkpoint=c",
            (
                "sweep",
                ("c",),
                {"lams": None, "taus": None, "delta": False, "pointers": "auto", "out": "", **SCORING},
            ),
        ),
        (
            "sweep --checkpoint=c --lams=0,0.5,1 --taus=2 --delta --pointers=anchors --out=o",
            (
                "sweep",
                ("c",),
                {
                    "lams": (0.0, 0.5, 1.0),
                    "taus": (2.0,),
                    "delta": True,
                    "pointers": "anchors",
                    "out": "o",
                    **SCORING,
                },
            ),
        ),
        ("report --sweep=s", ("report", ("s",), REPORT)),
        ("report s", ("report", ("s",), REPORT)),
        ("report s --heads=0,2 s", ("report", ("s",), REPORT | {"beside": "s", "heads": (0, 2)})),
        ("report --sweep=s --beside=s", ("report", ("s",), REPORT | {"beside": "s"})),
        (
            "report --sweep=s --out=p.html --log=m.jsonl",
            ("report", ("s",), REPORT | {"out": "p.html", "log": "m.jsonl"}),
        ),
        (
            "report --sweep=s --checkpoint=c --text=t",
            ("report", ("s",), REPORT | {"checkpoint": "c", "text": "t"}),
        ),
        (
            "attention --checkpoint=c --text=t",
            (
                "attention",
                ("c",),
                ATTENTION | {"text": "t"},
            ),
        ),
        (
            "attention --checkpoint=c --text=t --lam=0.3 --tau=2 --layers=1 --heads=0,2 --out=o --by_word"
            " --mean_heads --mean_layers --npz=w.npz",
            (
                "attention",
                ("c",),
                {"text": "t", "lam": (0.3,), "tau": 2.0, "layers": (1,), "heads": (0, 2), "out": "o"}
                | {"by_word": True, "mean_heads": True, "mean_layers": True, "npz": "w.npz"},
            ),
        ),
        (
            "generate --checkpoint=c --prompt=Once",
            (
                "generate",
                ("c",),
                GENERATE | {"prompt": "Once"},
            ),
        ),
        (
            (
                "generate --checkpoint=c --prompt=x --lam=0.6 --tau=2 --max_tokens=8 --sample_temperature=0"
                " --top_k=0 --seed=3"
            ),
            (
                "generate",
                ("c",),
                GENERATE
                | {"prompt": "x", "lam": 0.6, "tau": 2.0, "max_tokens": 8, "sample_temperature": 0.0}
                | {"top_k": 0, "seed": 3},
            ),
        ),
        ("blocks --checkpoint=c", ("blocks", ("c",), {"config": None, "n_in": None, **BLOCKS})),
        (
            (
                "blocks --config=small --config.partition.kind=segments --n_in=3.5 --split=test --batches=2"
                " --top=3 --examples=4 --data_dir=d --out=o"
            ),
            (
                "blocks",
                ("",),
                {
                    "config": SEGMENTS,
                    "n_in": 3.5,
                    "split": "test",
                    "batches": 2,
                    "top": 3,
                    "examples": 4,
                    "data_dir": "d",
                    "out": "o",
                },
            ),
        ),
        (
            "recruit --checkpoint=c",
            ("recruit", ("c",), {"config": None, "top": 20, "data_dir": "", "out": ""}),
        ),
        (
            (
                "recruit --config=small --config.partition.kind=recruited --config.partition.start=3 --top=5"
                " --data_dir=d --out=o"
            ),
            ("recruit", ("",), {"config": RECRUITED, "top": 5, "data_dir": "d", "out": "o"}),
        ),
        ("certify --checkpoint=c", ("certify", ("c",), CERTIFY)),
        ("certify --checkpoint=c --text=t", ("certify", ("c",), CERTIFY | {"text": "t"})),
        (
            "certify --checkpoint=c --flow --hard --text=t --position=3",
            ("flow", ("c",), CERTIFY | {"flow": True, "hard": True, "text": "t", "position": 3}),
        ),
        (
            "certify --checkpoint=c --flow --prompt=t --max_tokens=9",
            ("flow", ("c",), CERTIFY | {"flow": True, "prompt": "t", "max_tokens": 9}),
        ),
        (
            "certify --checkpoint=c --arithmetic=bfloat16",
            ("certify", ("c",), CERTIFY | {"arithmetic": "bfloat16"}),
        ),
        (
            (
                "certify --checkpoint=c --lam=0.8 --tau=0.5 --length=9 --bound=empirical"
                " --target_mass=0.95 --out=o --split=test --data_dir=d"
            ),
            (
                "certify",
                ("c",),
                CERTIFY
                | {
                    "lam": 0.8,
                    "tau": 0.5,
                    "length": 9,
                    "bound": "empirical",
                    "target_mass": 0.95,
                    "out": "o",
                }
                | TEST,
            ),
        ),
        ("influence --checkpoint=c", ("influence", ("c",), INFLUENCE)),
        (
            (
                "influence --checkpoint=c --lams=0,1 --tau=2 --positions=9 --draws=3 --seed=5 --split=test"
                " --window=3 --out=o --batch_size=4"
            ),
            (
                "influence",
                ("c",),
                INFLUENCE
                | {"lams": (0.0, 1.0), "tau": 2.0, "positions": 9, "draws": 3, "seed": 5}
                | {"split": "test", "window": 3, "out": "o", "batch_size": 4},
            ),
        ),
        ("diagnose --checkpoint=c", ("diagnose", ("c",), {"batches": 8, "data_dir": "", "out": ""})),
        (
            "diagnose --checkpoint=c --batches=2 --data_dir=d --out=o",
            ("diagnose", ("c",), {"batches": 2, "data_dir": "d", "out": "o"}),
        ),
        (
            "threshold --checkpoint=c",
            (
                "threshold",
                ("c",),
                {
                    "path": False,
                    "path_levels": None,
                    "gradients": 256,
                    "at_zero": 4,
                    "data_dir": "",
                    "out": "",
                },
            ),
        ),
        (
            "threshold --checkpoint=c --path --path_levels=30 --gradients=9 --at_zero=2 --data_dir=d --out=o",
            (
                "threshold",
                ("c",),
                {"path": True, "path_levels": 30, "gradients": 9, "at_zero": 2, "data_dir": "d", "out": "o"},
            ),
        ),
        (
            "answer --checkpoint=c --question=q --passages=my --lam=0.5 --tau=2 --max_tokens=3 --stop=. --stop=!"
            " --chat --pairs --shapley=4 --seed=1 --abstain=no --cache_dir=k --cache_mib=9"
            " --header=h --passage_form={passage} --question_form={question} --out=o",
            (
                "answer",
                ("c",),
                ANSWER
                | {"question": "q", "passages": "my", "lam": 0.5, "tau": 2.0, "mode": "together"}
                | {"max_tokens": 3, "stop": (".", "!"), "chat": True, "pairs": True, "shapley": 4, "seed": 1}
                | {"abstain": ("no",), "cache_dir": "k", "cache_mib": 9, "out": "o"}
                | {"header": "h", "passage_form": "{passage}", "question_form": "{question}"},
            ),
        ),
        (
            "score --checkpoint=c --text=t",
            ("score", ("c",), SCORE | {"text": "t"}),
        ),
        (
            "score --checkpoint=c --file=a --by_line --lam=0,0.5 --tau=2 --stride=3 --line_start --unit=bits"
            " --hard --batch_size=2 --top=3 --window=3 --out=o.jsonl",
            (
                "score",
                ("c",),
                SCORE
                | {"file": "a", "by_line": True, "lam": (0.0, 0.5), "tau": (2.0,), "stride": 3}
                | {"line_start": True, "unit": "bits", "hard": True, "batch_size": 2, "top": 3, "window": 3}
                | {"out": "o.jsonl"},
            ),
        ),
        (
            "generate --checkpoint=c --prompt_file=- --samples=3 --stop=. --stop=a\\nb --seed=2",
            (
                "generate",
                ("c",),
                GENERATE | {"prompt_file": "-", "samples": 3, "stop": (".", "a\nb"), "seed": 2},
            ),
        ),
        (
            "generate --checkpoint=c --prompt=x --lam=0,1 --tau=1,2 --top_p=0.9 --logprobs=3 --chat",
            (
                "generate",
                ("c",),
                GENERATE
                | {
                    "prompt": "x",
                    "lam": (0.0, 1.0),
                    "tau": (1.0, 2.0),
                    "top_p": 0.9,
                    "logprobs": 3,
                    "chat": True,
                },
            ),
        ),
        (
            "generate --checkpoint=c --prompt=x --stream",
            ("stream", ("c",), GENERATE | {"prompt": "x", "stream": True}),
        ),
        ("demo", ("demo", ("runs/demo",), {})),
        ("demo --workdir=w", ("demo", ("w",), {})),
    ],
)
def test_a_command_makes_one_call(runs, line, call):
    assert main(line.split()) == 0
    [(name, arguments, settings)] = runs.calls
    assert (name, arguments) == call[:2]
    nowhere = {
        "window": None,
        "relation": None,
        "data_dir": "",
        "fallback": False,
        "out": "",
        "config": None,
        "step": "",
    }
    assert nowhere | settings == nowhere | call[2]


@pytest.mark.parametrize("text", ["0,0.5,1", "(0, 0.5, 1)", "[0,.5,1.0]", "0,0.5,1,"])
def test_lists_of_numbers_may_be_written_in_several_ways(runs, text):
    assert main(["sweep", "--checkpoint=c", "--lams", text]) == 0
    assert runs.calls[0][2]["lams"] == (0.0, 0.5, 1.0)


def test_what_the_commands_print(runs, capsys):
    assert main(["evaluate", "--checkpoint=c"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["loss", "0.25"] in lines
    assert ["split", "test"] in lines
    assert "delta_share" not in [name for name, *_ in lines]
    assert main(["sweep", "--checkpoint=c"]) == 0
    assert capsys.readouterr().out == "table of RESULT\n"
    assert main(["influence", "--checkpoint=c"]) == 0
    assert capsys.readouterr().out == "influence of RESULT\n"
    assert main(["diagnose", "--checkpoint=c"]) == 0
    assert capsys.readouterr().out == "diagnosis of RESULT\n"
    assert main(["report", "--sweep=s"]) == 0
    assert capsys.readouterr().out == "page.html\n"
    assert main(["attention", "--checkpoint=c", "--text=t"]) == 0
    assert capsys.readouterr().out == "a.png\na.svg\n"
    assert main(["threshold", "--checkpoint=c"]) == 0
    assert "no prediction, since positions are not localist." in capsys.readouterr().out
    assert main(["generate", "--checkpoint=c", "--prompt=p"]) == 0
    assert capsys.readouterr() == ("a λ continuation\n", "")
    assert main(["generate", "--checkpoint=c", "--prompt=p", "--stop=."]) == 0
    assert capsys.readouterr() == ("a λ continuation\n", "aila: ended at max_tokens, after 0 tokens\n")
    assert main(["generate", "--checkpoint=c", "--prompt=p", "--samples=2", "--seed=4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "--- 'p', seed 4, ended at max_tokens, after 0 tokens",
        "a λ continuation",
        "--- 'p', seed 5, ended at max_tokens, after 0 tokens",
        "a λ continuation",
    ]
    assert main(["generate", "--checkpoint=c", "--prompt=p", "--stream"]) == 0
    assert capsys.readouterr() == ("a λ stream\n", "")
    assert main(["generate", "--checkpoint=c", "--prompt=p", "--logprobs=0"]) == 0
    assert capsys.readouterr().out.endswith("likeliest tokens\ntokens of a λ continuation\n")
    assert main(["generate", "--checkpoint=c", "--prompt=p", "--out=-"]) == 0
    assert capsys.readouterr().out == "line of a λ continuation\n"
    assert main(["score", "--checkpoint=c", "--text=t"]) == 0
    assert capsys.readouterr().out == 'scores as {"text": "t"}\n'
    assert main(["score", "--checkpoint=c", "--text=t", "--out=-"]) == 0
    assert capsys.readouterr().out == '{"text": "t"}\n'
    assert main(["score", "--checkpoint=c", "--text=t", "--out=o"]) == 0
    assert capsys.readouterr().out.endswith("Written to o\n")
    assert main(["answer", "--checkpoint=c", "--question=q", "--passages=my", "--out=o"]) == 0
    assert capsys.readouterr().out == "an answer and its sources\nWritten to o\n"
    assert main(["certify", "--checkpoint=c"]) == 0
    assert capsys.readouterr().out == "what is guaranteed\n"
    assert main(["blocks", "--checkpoint=c"]) == 0
    assert "keys in a query's block      2.50" in capsys.readouterr().out
    assert main(["recruit", "--checkpoint=c"]) == 0
    assert "2 classes recruited from 2 on the corpus: 60 pairs, 9 types" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evaluate", "--checkpoint is missing"),
        ("evaluate --checkpoint=c --lam=2", "--lam is 2.0; it must be a number in [0, 1]"),
        ("evaluate --checkpoint=c --tau=0", "--tau is 0.0; it must be a number from 1e-06 to 1e"),
        ("evaluate --checkpoint=c --lam=much", "--lam is 'much'; it must be a number"),
        ("evaluate --checkpoint=c --config=tiny", "'--config'"),
        ("sweep --checkpoint=c --lams=0,2", "--lams is 2.0"),
        ("sweep --checkpoint=c --lams=a,b", "--lams is 'a,b'; it must be numbers with commas"),
        ("sweep --checkpoint=c --lams=", "--lams is ''; it must be numbers with commas"),
        ("sweep --checkpoint=c --taus=1,-1", "--taus is -1.0"),
        ("blocks --config.partition.size=3", "--config is missing"),
        ("blocks --checkpoint=c --batches=-1", "--batches is -1; it must be at least 0"),
        (
            "recruit --config=tiny --config.partition.max_classes=9",
            "partition.max_classes is 9; it must be left alone",
        ),
        ("recruit --config=tiny --top=0", "--top is 0; it must be at least 1"),
        ("threshold", "--checkpoint is missing"),
        ("threshold --checkpoint=c --at_zero=0", "--at_zero is 0; it must be at least 1"),
        ("report", "--sweep is missing"),
        ("attention --checkpoint=c", "--text is missing"),
        ("attention --text=t", "--checkpoint is missing"),
        ("attention --checkpoint=c --text=", "--text is ''; it must be a text of at least one token"),
        ("attention --checkpoint=c --text=t --lam=0,2", "--lam is 2.0; it must be a number in [0, 1]"),
        ("attention --checkpoint=c --text=t --lam=", "--lam is ''; it must be numbers with commas"),
        ("attention --checkpoint=c --text=t --tau=0", "--tau is 0.0; it must be a number from 1e-06 to 1e"),
        ("attention --checkpoint=c --text=t --layers=all", "--layers is 'all'; it must be numbers with"),
        ("certify --checkpoint=c --lam=2", "--lam is 2.0; it must be a number in [0, 1]"),
        (
            "certify --checkpoint=c --target_mass=1",
            "--target_mass is 1.0; it must be a number above 0 and below",
        ),
        ("certify --checkpoint=c --length=0", "--length is 0; it must be at least 1"),
        ("certify --checkpoint=c --length=9 --text=t", "--length is 9; it must be left out with a text"),
        ("certify --checkpoint=c --position=2", "--position is 2; it must be left out without flow"),
        ("certify --checkpoint=c --split=test", "--split is 'test'; it must be left out unless bound="),
        ("sweep --checkpoint=c --split=dev", "--split is 'dev'; it must be one of train, validation, test"),
        ("sweep --checkpoint=c --pointers=all", "--pointers is 'all'; it must be one of auto, none"),
        (
            "threshold --checkpoint=c --path_levels=3",
            "--path_levels is 3; it must be left out without the path",
        ),
        ("influence --checkpoint=c --lams=0,2", "--lams is 2.0"),
        ("influence --checkpoint=c --tau=0", "--tau is 0.0"),
        ("influence --checkpoint=c --positions=1", "--positions is 1; it must be a whole number, at least 2"),
        ("influence --checkpoint=c --max_batches=1", "max_batches"),
        ("diagnose", "--checkpoint is missing"),
        ("diagnose --checkpoint=c --batches=0", "--batches is 0; it must be at least 1"),
        ("generate --checkpoint=c", "prompt, prompt_file is (); it must be one of the two"),
        ("generate --checkpoint=c --prompt=p --prompt_file=a", "it must be one of the two"),
        ("generate --checkpoint=c --prompt_file=nowhere", "--prompt_file is 'nowhere'; it must be a file"),
        (
            "generate --checkpoint=c --prompt=p --stream --samples=2",
            "samples is 2; it must be 1 with --stream",
        ),
        ("generate --checkpoint=c --prompt=p --stream --logprobs=1", "it must be left out with --stream"),
        (
            "generate --checkpoint=c --prompt=p --stream --out=o",
            "out is 'o'; it must be left out with --stream",
        ),
        ("generate --checkpoint=c --prompt=p --top_p=0", "--top_p is 0.0; it must be a number above 0"),
        ("generate --checkpoint=c --prompt=p --samples=0", "--samples is 0; it must be at least 1"),
        ("generate --checkpoint=c --prompt=p --stop=", "--stop is ['']; it must be a text or several"),
        ("score --checkpoint=c", "text, file is (); it must be one of the two"),
        ("score --checkpoint=c --text=t --by_line", "--by_line is True; it must be left out without a file"),
        ("score --checkpoint=c --file=nowhere", "--file is 'nowhere'; it must be a file that is there, or -"),
        ("score --checkpoint=c --text=t --lam=0,2", "--lam is 2.0; it must be a number in [0, 1]"),
        ("score --checkpoint=c --text=t --unit=bit", "--unit is 'bit'; it must be one of nats, bits"),
        ("generate --checkpoint=c --prompt=p --top_k=-1", "--top_k is -1; it must be at least 0"),
        ("generate --checkpoint=c --prompt=p --max_tokens=0", "--max_tokens is 0; it must be at least 1"),
        ("trian", "unknown command 'trian'; did you mean 'train'?"),
        ("qqqq", "unknown command 'qqqq'; commands: demo, train"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(runs, capsys, line, message):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aila: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert runs.calls == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("the value is 3;\n it must be 4"), 2, "aila: error: the value is 3; it must be 4\n"),
        (
            FileNotFoundError(2, "No such file or directory", "runs/x"),
            2,
            "aila: error: runs/x: No such file or directory\n",
        ),
        (PermissionError(13, "Permission denied", "/x"), 2, "aila: error: /x: Permission denied\n"),
        (FileNotFoundError("no run here"), 2, "aila: error: no run here\n"),
        (OSError(28, "No space left on device", "/x"), 1, "aila: error: /x: No space left on device\n"),
        (KeyboardInterrupt(), 130, "aila: interrupted\n"),
        (LogUnwritable("it cannot be written"), 1, "aila: error: it cannot be written\n"),
        (RunMoved("it was moved"), 1, "aila: error: it was moved\n"),
        (
            TrainingStopped(7, 1),
            129,
            "aila: stopped by SIGHUP after step 7, which is saved; the same command continues from there\n",
        ),
        (
            TrainingStopped(7, 15),
            143,
            "aila: stopped by SIGTERM after step 7, which is saved; the same command continues from there\n",
        ),
    ],
)
def test_errors_of_a_run_are_one_line(runs, capsys, error, code, message):
    runs.error = error
    assert main(["evaluate", "--checkpoint=c"]) == code
    assert capsys.readouterr().err == message


def test_training_that_breaks_down_is_explained_with_exit_code_1(runs, capsys):
    runs.error = runs.NonFiniteError("first at step 3")
    assert main(["train", "--config=tiny", "--workdir=w"]) == 1
    assert capsys.readouterr().err == "aila: error: first at step 3\n"


def test_a_conflict_of_settings_keeps_its_lines_and_is_a_mistake_in_the_call(runs, capsys):
    runs.error = SettingsConflict("w", [("seed", 0, 3)])
    assert main(["train", "--config=tiny", "--workdir=w"]) == 2
    assert capsys.readouterr().err == f"aila: error: {runs.error}\n"
    assert str(runs.error).count("\n") == 3


def test_a_prompt_that_is_cut_is_told_of_in_one_line_beside_the_text(runs, capsys):
    runs.prompt_tokens = 40
    assert main(["generate", "--checkpoint=c", "--prompt=p"]) == 0
    out, err = capsys.readouterr()
    assert out == "a λ continuation\n"
    assert err == (
        "aila: the prompt has 40 tokens; its last 8 are read: the model reads 16 at once, and of a full"
        " window the newer half stays\n"
    )


def test_a_run_that_was_finished_is_not_said_to_be_trained(runs, capsys):
    for began, said in ((0, "Trained to step 7. "), (7, "")):
        runs.began = began
        assert main(["train", "--config=tiny", "--workdir=w"]) == 0
        assert capsys.readouterr().out == f"{said}Turn the dial: aila sweep --checkpoint=w\n"


def test_debug_shows_where_an_error_comes_from(runs):
    runs.error = ValueError("from inside")
    with pytest.raises(ValueError, match="from inside"):
        main(["evaluate", "--checkpoint=c", "--debug"])


def test_a_bug_is_not_hidden(runs):
    runs.error = KeyError("bug")
    with pytest.raises(KeyError, match="bug"):
        main(["evaluate", "--checkpoint=c"])


def keywords(function):
    """Names and defaults of what may be left out."""
    given = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in given if each.default is not inspect.Parameter.empty}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_flags_are_the_options_and_so_are_their_defaults(command, monkeypatch):
    # The options of localise make its configuration, from a model that is there.
    monkeypatch.setattr(runs_module, "localised_config", lambda *_: presets.tiny())
    monkeypatch.setattr(localise, "is_model", lambda *_: None)
    config = CONFIG[command.needs_config] if command.takes_source else ["--config.data.corpus=text"]
    values = parse(command, [f"--{needed}=x" for needed in command.needed if needed != "config"] + config)
    given = {each.name: each.default for each in dataclasses.fields(command.options)}
    opening = {
        each.name: each.default for each in dataclasses.fields(OpenOptions) if each.name in command.opening
    }
    path = {command.path.name: command.path.default}
    shared = {each.name: each.default for each in dataclasses.fields(ProcessOptions) if command.several}
    expected = path | given | opening | shared | ({"out": ""} if command.out else {})
    found = {name: values[name].default for name in values if not name.startswith("config")}
    assert found == {
        name: None if default is dataclasses.MISSING else default for name, default in expected.items()
    }


@pytest.mark.parametrize(
    ("function", "options", "beside"),
    [
        (aila_jax.evaluate, EvaluateOptions, {"window", "data_dir", "quiet", "dataset", "fallback"}),
        (aila_jax.sweep, SweepOptions, {"quiet", "dataset", "fallback"}),
        (aila_jax.certify, CertifyOptions, {"layer_scale", "block_ids", "dataset", "fallback"}),
        (aila_jax.recruit, RecruitOptions, {"checkpoint", "config", "data_dir", "out", "quiet", "fallback"}),
        (aila_jax.LanguageModel.generate, GenerateOptions, {"prompt", "chat", "block_ids"}),
        (aila_jax.LanguageModel.stream, GenerateOptions, {"prompt", "chat", "block_ids"}),
        (aila_jax.localise, LocaliseOptions, {"partition", "relation", "seed", "quiet"}),
        (aila_jax.plan, PlanOptions, set()),
        (aila_jax.population, PopulationOptions, {"quiet", "preset"}),
        (aila_jax.LanguageModel.score, ScoreOptions, {"block_ids"}),
        (aila_jax.score, ScoreOptions, {"block_ids", "fallback"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_public_callables_have_the_options_as_keywords_with_their_defaults(function, options, beside):
    options = {
        each.name: each.default
        for each in dataclasses.fields(options)
        if each.default is not dataclasses.MISSING
    }
    if function is aila_jax.certify:
        # What is said of a certificate, not the certificate; and what is `model.reach` in Python.
        for name in ("target_mass", "flow", "position", "prompt", "max_tokens"):
            del options[name]
    if function is aila_jax.LanguageModel.generate:
        del options["logprobs"]  # `continuations` says them
    if function is aila_jax.LanguageModel.stream:
        for name in ("logprobs", "samples"):
            del options[name]
    assert {name: value for name, value in keywords(function).items() if name not in beside} == options


@pytest.mark.parametrize("name", sorted(aila_jax.__all__))
def test_no_public_callable_takes_settings_that_it_does_not_name(name):
    found = getattr(aila_jax, name)
    if callable(found):
        kinds = {each.kind for each in inspect.signature(found).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_nobody_reading_the_output_is_no_traceback() -> None:
    """As `aila … | head -1`: the reader has gone before everything is written."""
    command = [sys.executable, "-m", "aila_jax.cli.main", "influence", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read().decode()
        assert (process.wait(), complaint) == (128 + 13, "")
