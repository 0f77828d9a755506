"""The model card of an exported folder: what it is, what it guarantees, and how it is loaded."""

from collections.abc import Iterable
from pathlib import Path

from aila_jax.config import Config, MarginConfig, MarginForm
from aila_jax.config.relation import relation_line
from aila_jax.exporting.dial import Setting, takes_mask
from aila_jax.guarantees.certificates import Certificate, certificate
from aila_jax.inference.language_model import LanguageModel
from aila_jax.provenance import version

PROGRAM, CARD = "with_dial.py", "README.md"
CITATION = """@article{diederich2025aila,
  title = {AILA--First Experiments with Localist Language Models},
  author = {Diederich, Joachim},
  year = {2025},
  journal = {arXiv:2511.03559}
}"""


def card_of(model: LanguageModel, whole: LanguageModel, setting: Setting) -> str:
    """The text of README.md.

    Args:
      model: what is exported.
      whole: the same at the λ of `setting`, with nothing that turns: what the certificate is of.
      setting: of the dial.
    """
    made = certificate(
        whole.params,
        whole.config,
        setting.lam,
        setting.tau,
        hard=model.config.model.hard,
    )
    parts = (
        _front(setting),
        f"# {model.run}, with a locality dial\n\n{_what(model, setting)}",
        f"## The dial\n\n{_table(_facts(model, setting))}",
        f"## Guarantee\n\n{_guarantee(made)}",
        f"## Load\n\n{_load(setting, model.config)}",
        f"## Citation\n\n{_cite()}",
    )
    return "\n\n".join(parts) + "\n"


def _front(setting: Setting) -> str:
    """What a hub reads."""
    library = "peft" if setting.base else "transformers"
    lines = ["---", f"library_name: {library}", "pipeline_tag: text-generation"]
    if setting.base and not Path(setting.base).is_absolute():  # a folder's path says nothing elsewhere
        lines.append(f"base_model: {setting.base}")
    return "\n".join([*lines, "tags:", "- aila", "- locality", *(["- lora"] if setting.base else []), "---"])


def _what(model: LanguageModel, setting: Setting) -> str:
    about = "Its attention is held inside blocks of the text as far as λ says: at λ = 0 not at all."
    if setting.base:
        lora = f"lora_alpha is λ · r, with λ = {setting.lam:g}"
        return f"Low-rank adapters for `{setting.base}`, with the dial that they were made for. {about} In PEFT {lora}."
    if setting.only:
        return f"{about} What turns with λ is part of these weights, at λ = {setting.lam:g} alone."
    return f"{about} The weights are the same at every λ."


def _facts(model: LanguageModel, setting: Setting) -> Iterable[tuple[str, str]]:
    """Name and value of each."""
    config, shape = model.config, model.config.model
    yield "λ", f"{setting.lam:g}" + (", and no other" if setting.only else "")
    yield "τ", f"{setting.tau:g}"
    blocks = ", ".join(f"{name} {value}" for name, value in config.partition.settings.items() if value)
    yield "partition", blocks.removeprefix("kind ")
    yield "relation", relation_line(config.relation)
    yield "margin", "hard blocks" if shape.hard else _margin(shape.margin)
    if shape.layer_beta:
        yield "layers", f"λ · ((ℓ + 1) / {shape.n_layers})^{shape.layer_beta:g} in layer ℓ"
    if shape.score_cap:
        yield "scores", f"capped at {shape.score_cap:g}"
    if shape.adapters.rank:
        yield "adapters", f"rank {shape.adapters.rank} on {', '.join(shape.adapters.on)}"
    yield "length", f"{shape.length} tokens"
    yield "begin token", f"`{config.data.begin}` before every text" if config.data.begin else "none"
    yield from _origin(model)


def _origin(model: LanguageModel) -> Iterable[tuple[str, str]]:
    pretrained, data = model.meta.get("pretrained", {}), model.meta.get("data", {})
    if pretrained.get("files"):
        files = ", ".join(f"{name} (SHA-256 {sha[:12]}…)" for name, sha in pretrained["files"].items())
        yield "weights from", files
    if model.step:
        name, sha = data.get("name", model.config.data.corpus), str(data.get("fingerprint", ""))
        known = f" (fingerprint {sha[:12]}…)" if sha else ""
        yield "data", f"{name}{known}, {model.step} steps, λ {model.config.locality.mode.value}"
    else:
        yield "data", "not trained on for its blocks"
    if model.lineage:
        yield "began from", ", ".join(map(str, model.lineage))


def _margin(margin: MarginConfig) -> str:
    """As a formula, s being what the dial imposes of it."""
    bend = f"^{margin.range_bend:g}" if margin.range_bend != 1.0 else ""
    if margin.form == MarginForm.FIXED:
        nats = f"s · {margin.nats:g} nats"
    else:
        nats = f"s{bend} · {margin.c:g} · range of the scores + s · {margin.m0:g} nats"
    share = "λ"
    if margin.power != 1.0:
        linear, rest = (f"{margin.linear:g} λ + ", f"{1 - margin.linear:g} ") if margin.linear else ("", "")
        share = f"{linear}{rest}λ^{margin.power:g}"
    parts = [nats, f"s = {share}"]
    parts += [f"heads staggered by {margin.stagger:g}"] * bool(margin.stagger)
    parts += [f"gate (1 − s)^{margin.gate:g}"] * bool(margin.gate)
    return ", ".join(parts)


def _guarantee(made: Certificate) -> str:
    """In words, then in figures."""
    if made.non_interfering:
        words = (
            "No key outside has any weight, in any layer and head, for every text. What a prediction can have been"
            " influenced by follows from blocks and relation alone (`model.reach` in aila_jax lists it)."
        )
    elif made.share_said > 0.0:
        words = (
            "For every text at least this much attention is inside (own block, pointers and sink together), in each"
            " layer by itself. It bounds attention, not influence: what left a block in one layer can come back in"
            " the next."
        )
    else:
        words = "Nothing is guaranteed at this λ: attention may be anywhere."
    where = (
        f"It holds for `{PROGRAM}`, which has the dial. Loaded without it, the model attends to everything."
    )
    counted = " It is for texts of one document." if made.counts.one_document else ""
    return f"{words} {where}{counted}\n\n```\n{made.card().text()}\n```"


def _load(setting: Setting, config: Config) -> str:
    route = (
        "a 4-D attention mask"
        if takes_mask(config)
        else "an attention function of its own (`AttentionInterface`)"
    )
    own = f"""Needs torch and transformers. `{PROGRAM}` gives the model {route}:

    python {PROGRAM} --text="…" --lam={setting.lam:g} --tau={setting.tau:g}

```python
from with_dial import Dialled  # with this folder as the working directory

model = Dialled()
logits = model.logits(model.encode("…"), lam={setting.lam:g}, tau={setting.tau:g})
```
"""
    if config.model.score_cap:
        capped = f"Its scores are capped at {config.model.score_cap:g}, at every λ, which transformers does not do by itself."
        return f"{own}\n{capped} Loaded without the program its logits are others."
    if setting.base:
        plain = f"""model = AutoModelForCausalLM.from_pretrained({setting.base!r})
model = PeftModel.from_pretrained(model, ".")"""
        names = "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM"
    else:
        plain, names = (
            'model = AutoModelForCausalLM.from_pretrained(".")',
            "from transformers import AutoModelForCausalLM",
        )
    return f"{own}\nWithout the dial, attending to everything:\n\n```python\n{names}\n\n{plain}\n```"


def _cite() -> str:
    return (
        f"Made with aila_jax {version()}, an independent implementation of published papers, not affiliated with their"
        f" author. The method follows\n\n```bibtex\n{CITATION}\n```"
    )


def _table(facts: Iterable[tuple[str, str]]) -> str:
    pipe = "\\|"
    rows = [f"| {name} | {value.replace('|', pipe)} |" for name, value in facts]
    return "\n".join(["| | |", "| --- | --- |", *rows])
