"""`aila export`: a model with its dial as a folder that others read."""

from aila_jax.cli.command import MODEL, Call, Command
from aila_jax.cli.paths import is_new_folder
from aila_jax.config.options import ExportOptions


def _run(call: Call[ExportOptions]) -> None:
    from aila_jax import runs

    found = runs.export(call.path, call.options, call.out, call.fallback, call.step, call.relation)
    print(f"Written to {found}. README.md says what it guarantees; with_dial.py runs it in transformers.")


COMMAND = Command(
    name="export",
    summary="write a folder for transformers or PEFT, with a card and a program that has the dial",
    about=(
        "Writes config.json, model.safetensors and tokenizer.json of a Llama, GPT-2 or GPT-NeoX decoder, or with"
        " --format=peft its adapters; README.md, the model card, with what λ and τ guarantee; and with_dial.py,"
        " a program that runs the model in transformers with its locality and needs nothing of this package. A"
        " model that fits no family is refused, and so is a folder that holds something."
    ),
    examples=(
        "export --checkpoint=my/folder --out=my/dialled",
        "export --checkpoint=runs/mine --lam=0.5 --out=runs/mine-half",
        "export --checkpoint=runs/mine --format=peft --base=my/folder --out=runs/mine-peft",
    ),
    run=_run,
    options=ExportOptions,
    path=MODEL,
    opening=("relation", "fallback", "step"),
    out="The folder to write, new or empty.",
    out_check=is_new_folder,
)
