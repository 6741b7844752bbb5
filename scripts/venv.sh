# shellcheck shell=bash
# Sourced in the root: `make_venv EXTRA…` gives .venv this checkout with its extras. stdout stays the caller's.

make_venv() {
    if is_installed "$@"; then return; fi
    local python
    python=$(find_python)
    exec 9<pyproject.toml # locked, not written: nothing is left behind, whatever dies
    lock '| fcntl.LOCK_NB' 2>/dev/null || { echo "waiting for another install into .venv" >&2 && lock; }
    is_installed "$@" || install_extras "$@"
    exec 9<&- # or what we exec, and all its children, would hold the lock
}
lock() { "$python" -c "import fcntl; fcntl.flock(9, fcntl.LOCK_EX ${1:-})"; }

# What an installed extra's stamp says: this folder, these two files. Anything else is installed again.
stamp() { printf '%s\n' "$PWD" "$(<pyproject.toml)" "$(<constraints.txt)"; }
is_installed() {
    local extra wanted
    wanted=$(stamp)
    for extra; do
        [[ ! -e .venv/.unfinished && -f .venv/.has-$extra && $(<".venv/.has-$extra") == "$wanted" ]] || return
    done
    [[ -x .venv/bin/python && -z ${PYTHON:-} ]] || is_usable
}

# Not usable: half made, made for another folder, too old, or not the Python that was asked for.
is_usable() {
    [[ ! -e .venv/.unfinished ]] && grep -qsF "$PWD/.venv" .venv/bin/activate || return
    .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return
    [[ -z ${PYTHON:-} || $(.venv/bin/python --version) == $("$PYTHON" --version 2>&1) ]]
}

install_extras() {
    is_usable || { rm -rf .venv/.has-* .venv && mkdir .venv; }
    : >.venv/.unfinished
    echo "installing into .venv, once: about half a minute" >&2
    [[ -e .venv/bin/python ]] || quietly "$python" -m venv .venv
    quietly .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(IFS=, && echo "$*")]"
    for extra; do stamp >".venv/.has-$extra"; done
    rm .venv/.unfinished
}

quietly() {
    local output
    output=$("$@" 2>&1 </dev/null) || fail "$output"$'\n'"could not set up .venv: the lines above say why"
}

find_python() {
    local candidate without_venv=
    if [[ -n ${PYTHON:-} ]]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3; fi
    for candidate; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        "$candidate" -c 'import ensurepip, venv' 2>/dev/null && echo "$candidate" && return
        without_venv=$candidate
    done
    [[ -z $without_venv ]] || fail "$without_venv can't make a .venv: apt install python3-venv (Debian, Ubuntu)"
    fail "Python 3.11 or later is needed, and is none of: $*. Install it, or set PYTHON to where it is"
}

fail() { echo "$1" >&2 && exit 1; }
