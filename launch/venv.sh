# Makes or reuses .venv in the current folder. Sourced by the scripts beside it: `. launch/venv.sh`.
#
#   PYTHON=python3.13 sh launch/test.sh    chooses the interpreter (3.11 or newer); without it: python3, else python3.13, 3.12, 3.11
#
# Afterwards VENV_PYTHON is the interpreter of .venv. The stamp file .venv/aila-stamp says what was installed; everything is
# installed again only when that differs from requirements.txt, setup.cfg, pyproject.toml, the Python version or this folder.

VENV=.venv
VENV_PYTHON=$VENV/bin/python
STAMP=$VENV/aila-stamp

say() { printf '%s\n' "== $*"; }

fail() {
    printf '%s\n' "error: $*" >&2
    exit 1
}

# usable PROGRAM: does it run, is it 3.11 or newer, and can it make virtual environments with pip?
usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && "$1" -c 'import venv' >/dev/null 2>&1 && { bundles_pip "$1" || has_pip "$1"; }
}

# bundles_pip PROGRAM: can it put pip into a virtual environment by itself? Debian's python3 cannot without python3-venv.
bundles_pip() { "$1" -c 'import ensurepip' >/dev/null 2>&1; }
has_pip() { "$1" -m pip --version >/dev/null 2>&1; }

# create PROGRAM: makes .venv with pip in it.
create() {
    if bundles_pip "$1"; then
        "$1" -m venv --clear "$VENV"
    else
        "$1" -m venv --clear --without-pip "$VENV" && "$1" -m pip --python "$VENV_PYTHON" install --quiet --disable-pip-version-check --no-input pip
    fi
}

# find_python: prints the interpreter to build with.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON cannot be used: it must be Python 3.11 or newer with the module venv, and ensurepip or pip"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if usable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer with venv, and ensurepip or pip, found (on Debian and Ubuntu: apt install python3-venv). Fix: install one, or name it: PYTHON=/path/to/python3 sh $0"
}

# version PROGRAM: its full version.
version() { "$1" -c 'import platform; print(platform.python_version())'; }

# wanted: what the stamp should hold for the interpreter now in .venv.
wanted() {
    "$VENV_PYTHON" - <<'PY'
import hashlib, pathlib, sys

text = "".join(pathlib.Path(name).read_text(encoding="utf-8") for name in ("requirements.txt", "setup.cfg", "pyproject.toml"))
print(hashlib.sha256(f"{text}{sys.version}{pathlib.Path.cwd()}".encode()).hexdigest())
PY
}

# complete: is .venv whole, up to date, and of the version that PYTHON asks for?
complete() {
    [ -f "$STAMP" ] && "$VENV_PYTHON" -c '' >/dev/null 2>&1 || return 1
    [ "$(cat "$STAMP")" = "$(wanted)" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version "$VENV_PYTHON")" ]
}

# reusable: can we install on top of .venv? Not if it is broken, of another version than PYTHON asks for, or left half installed.
reusable() {
    usable "$VENV_PYTHON" && "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version "$VENV_PYTHON")" ] || return 1
    [ "$(cat "$STAMP" 2>/dev/null)" != incomplete ]
}

# install ARGUMENTS…: pip, which says nothing while it works; a line every 15 seconds says that it does.
install() {
    began=$(date +%s)
    while sleep 15 && kill -0 $$ 2>/dev/null; do say "pip still at it, $(($(date +%s) - began)) s so far"; done &
    ticker=$!
    "$VENV_PYTHON" -m pip install --quiet --quiet --disable-pip-version-check --no-input "$@" && code=0 || code=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    return $code
}

make_venv() {
    base=$(find_python) || exit 1 # also refuses a PYTHON that cannot be used
    if reusable; then
        say "updating $VENV (Python $(version "$VENV_PYTHON")): it is not what requirements.txt and setup.cfg ask for"
    else
        [ ! -e "$VENV" ] || say "the $VENV that is here is broken, incomplete or of another Python version: replacing it"
        say "making $VENV with $base (Python $(version "$base"))"
        create "$base" || fail "'$base -m venv $VENV' failed; its message is above"
    fi
    echo incomplete >"$STAMP"
    say "installing the pinned requirements.txt with pip (the first time this takes minutes; .venv grows to 1.3 GB)"
    install -r requirements.txt || fail "pip could not install requirements.txt; its message is above. Run the script again to retry"
    say "installing this checkout (editable)"
    install --no-deps --no-build-isolation -e . || fail "pip could not install this checkout; its message is above"
    wanted >"$STAMP"
}

[ -f setup.cfg ] && [ -d aila_jax ] || fail "launch/venv.sh must be used from the top folder of the checkout"
if complete; then
    say "using $VENV (Python $(version "$VENV_PYTHON"))"
else
    make_venv
fi
