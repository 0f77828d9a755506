"""Renders a chat template in a process of its own: `python chat_child.py SECONDS BYTES`, with a JSON object
on standard input and one on standard output.

A template comes with a model from elsewhere and is a program. The sandbox keeps it from Python's objects; the
limits, of time on the processor and of memory, end one that does not end by itself. Nothing of this package
is imported, since that alone would exceed them.
"""

import json
import sys

MOST = 1_000_000  # characters of a rendered chat


def main() -> None:
    """Writes {"text": …}, or {"error": …}."""
    try:
        found = {"text": render(json.load(sys.stdin))}
    except MemoryError:
        found = {"error": "it needs more memory than it may"}
    except Exception as error:  # whatever the template or its library raises is the template's fault
        found = {"error": f"{type(error).__name__}: {error}"[:500]}
    json.dump(found, sys.stdout)


def render(asked: dict[str, object]) -> str:
    """The text of the template `template` with the variables `variables`."""
    from jinja2.exceptions import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent
    )
    environment.globals["raise_exception"] = refuse
    variables = asked["variables"]
    assert isinstance(variables, dict)
    text = environment.from_string(str(asked["template"])).render(variables)
    if len(text) > MOST:
        raise ValueError(f"it makes {len(text):,} characters, of which {MOST:,} are the most")
    return text


if __name__ == "__main__":
    import resource  # not on every system: where it is missing nothing is rendered

    seconds, size = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    main()
