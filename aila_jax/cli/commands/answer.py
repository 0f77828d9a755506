"""`aila answer`: an answer from passages, with its sources."""

from aila_jax.cli.command import MODEL, Call, Command
from aila_jax.cli.paths import is_output_folder, is_passages
from aila_jax.config.options import AskOptions


def _run(call: Call[AskOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, fallback=call.fallback, step=call.step)
    print(runs.describe_answer(runs.answer(run, call.options, call.out)))
    if call.out:
        print(f"Written to {call.out}")


COMMAND = Command(
    name="answer",
    summary="answer a question from passages, and say which they come from",
    about=(
        "Prints the greedy answer, and for each passage attention mass (measured), what the answer's"
        " log-probability loses without it (exact: its tokens fixed, the question run again), and whether flow"
        " allows it any influence. With --mode=branches each passage answers alone, the answers vote, and the"
        " majority says how many passages may say anything without changing it. Passages are read as blocks of"
        " their own; the model's partition and relation are not used. What does not fit is refused, never cut."
        " --out writes answer.html (a page: choose a token to see what each passage is to it), answer.json, answer.csv"
        " (a row for each passage) and answer_tokens.csv."
    ),
    examples=(
        'answer --checkpoint=runs/tiny --question="Who saw the owl?" --passages=texts',
        'answer --checkpoint=runs/tiny --question="Who saw the owl?" --passages=texts.jsonl --lam=0 --out=found',
        'answer --checkpoint=my/chat.gguf --chat --question="Who saw the owl?" --passages=texts --mode=branches',
        'answer --checkpoint=runs/tiny --question="Who saw the owl?" --passages=texts --pairs --shapley=20',
    ),
    run=_run,
    path=MODEL,
    opening=("fallback", "step"),
    options=AskOptions,
    paths=(("passages", is_passages), ("cache_dir", is_output_folder)),
    out="Folder for the files. Default: none are written.",
)
