#!/bin/sh
# One command for everything; .ci/run calls the same names. Safe to repeat, from any directory.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

say() { printf '%s\n' "do: $*" >&2; }
stop() { say "$@"; exit 2; }

usage() {
    cat <<'END'
usage: ./do COMMAND [arguments]

  demo                  the main job against the simulator, on a machine that has nothing installed
  orchestrator ...      the product's own command line, e.g. ./do orchestrator pause --help
  simulate ...          the simulator alone, on loopback

  test                  the whole suite
  test k=EXPR           the tests whose names match, e.g. ./do test k=pacing
  test ARGS             whatever pytest takes, e.g. ./do test tests/core -x
  lint                  ruff, mypy, import-linter, the project's own checks
  bench                 every figure, measured here (15 minutes) and written to bench/RESULTS.md
  bench NAME ... | quick=1
                        some of them, or all in a minute, printed only, e.g. ./do bench startup
  profile [n=... tls=0 verify=0]
                        where a campaign's CPU goes, as tables to paste into a change
  crash | soak | fuzz | simulation | surroundings  [key=value ...]
                        the harnesses in their long form, e.g. ./do crash n=2000 seed=7

  acceptance [NAME ... | --issue N | --short]
                        the real command against an independent server; --list names the scenarios

  setup                 the virtual environment only (every command does it when needed)
  build                 the wheel, into dist/ (or --directory DIR)
  docs                  write what is made from the code: configs/example.toml, the table of settings
  lock                  pin the dependencies anew (needs uv and a package index)
  help                  this text

PYTHON=/path/to/python ./do ... chooses the interpreter (3.11 or later); each one so chosen has
an environment of its own, .venv-VERSION.
END
}

# ---------------------------------------------------------------- the virtual environment

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        can_make_venv "$PYTHON" || stop "PYTHON=$PYTHON has no venv or ensurepip module." \
            "On Debian or Ubuntu: apt-get install python3-venv"
        printf '%s\n' "$PYTHON"
        return
    fi
    lame=
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        is_new_enough "$name" || continue
        if can_make_venv "$name"; then
            printf '%s\n' "$name"
            return
        fi
        lame=$name
    done
    if [ -n "$lame" ]; then
        say "$lame is here, but its venv or ensurepip module is missing."
    else
        say "no Python 3.11 or later found (tried python3.14 ... python3.11, python3)."
    fi
    say "install it, as root, on Debian or Ubuntu: apt-get install python3 python3-venv"
    stop "or name one: PYTHON=/path/to/python ./do ..."
}

# Where it lies. A chosen interpreter has one of its own, so that several can take turns.
VENV=$ROOT/.venv
if [ -n "${PYTHON:-}" ]; then
    is_new_enough "$PYTHON" || stop "PYTHON=$PYTHON is not a Python 3.11 or later."
    VENV=$ROOT/.venv-$("$PYTHON" -c 'import platform; print(platform.python_version())')
fi
STAMP=$VENV/.ready

# What the environment was made from: the pins, the project file, the interpreter, the place.
stamp_of() {
    version=$("$1" -c 'import sys; print(sys.version)') || return 1
    pins=$(cat "$ROOT/requirements.txt" "$ROOT/pyproject.toml" | cksum)
    printf '%s\n%s\n%s\n' "$ROOT" "$pins" "$version"
}

is_ready() {
    [ -f "$STAMP" ] && [ -x "$VENV/bin/python" ] || return 1
    [ "$(cat "$STAMP")" = "$(stamp_of "${PYTHON:-$VENV/bin/python}" 2>/dev/null)" ]
}

pip() {
    # Errors only: pip's warnings are about this machine's own settings, which stay in force
    # (a proxy or an index set for it may be needed).
    PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$VENV/bin/python" -m pip -qq --no-input "$@"
}

build_venv() {
    python=$(find_python) || exit 2
    began=$(date +%s)
    say "setting up ${VENV##*/} with $("$python" -V) (once; under a minute)"
    rm -f "$STAMP"
    if ! [ -x "$VENV/bin/python" ] ||
        [ "$("$VENV/bin/python" -c 'import sys, pip; print(sys.version)' 2>/dev/null)" != \
            "$("$python" -c 'import sys; print(sys.version)')" ]; then
        "$python" -m venv --clear "$VENV" || stop "no virtual environment could be made in $VENV." \
            "On Debian or Ubuntu: apt-get install python3-venv"
    fi
    # The lock alone decides: without --no-deps a release published later may (pip before 24 looks
    # for the newest of a package that another one asks for with an extra, and finds no hash).
    pip install --no-deps --require-hashes --only-binary :all: -r "$ROOT/requirements.txt" ||
        stop "the pinned packages could not be installed (the lines above say why)." \
            "A package index must be reachable; repeat the command to go on."
    pip install --no-deps --no-build-isolation --no-index --editable "$ROOT" ||
        stop "the project itself could not be installed (the lines above say why)."
    lacking=$("$VENV/bin/python" -m pip check) || stop "the lock is not complete: $lacking"
    stamp_of "$VENV/bin/python" >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
    say "ready after $(($(date +%s) - began)) s"
}

setup() {
    is_ready && return
    [ -w "$ROOT" ] || stop "$ROOT is not writable for $(id -un), and ${VENV##*/} must be made in it."
    # One setup at a time: fd 9 carries a lock that dies with this process. The lock belongs to the
    # open file, which the child shares with us, so it outlives the child that takes it.
    locker=$(find_python) || exit 2
    touch "$VENV.lock" || stop "$VENV.lock is not writable for $(id -un); remove it."
    exec 9>>"$VENV.lock"
    "$locker" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || stop "cannot lock $VENV.lock"
    is_ready || build_venv
    exec 9>&-
}

# ---------------------------------------------------------------- the commands

# Runs in the venv, from the caller's directory, with the tests importable.
run() {
    program=$1
    shift
    PYTHONPATH=$ROOT exec "$VENV/bin/python" -m "$program" "$@"
}

lint() {
    cd "$ROOT"
    PATH=$VENV/bin:$PATH
    bad=
    ruff check --quiet . || bad="$bad ruff-check"
    ruff format --quiet --check . || bad="$bad ruff-format"
    mypy --no-error-summary || bad="$bad mypy"
    imports=$(lint-imports --no-logo 2>&1) || { bad="$bad import-linter" && echo "$imports" >&2; }
    python -m tests.checks || bad="$bad tests.checks"
    if [ -n "$bad" ]; then
        say "lint: NOT clean:$bad (formatting is put right by ${VENV##*/}/bin/ruff format .)"
        exit 1
    fi
    say "lint: clean (ruff, mypy, import-linter, tests.checks)"
}

test_all() {
    cd "$ROOT"
    PATH=$VENV/bin:$PATH
    pure=$(python -m tests.checks.own_coverage --tests)
    # Two workers are quicker than one on two cores and steadier than four on any. Only the tests
    # of the pure files are measured, which slows them: each file by its own tests.
    python -m pytest -n 2 --dist worksteal --durations 5 $pure \
        --cov orchestrator.policy --cov orchestrator.isales --cov orchestrator.manifest \
        --cov orchestrator.settings --cov orchestrator.reports --cov orchestrator.model \
        --cov orchestrator.text --cov-context test --cov-report ''
    python -m tests.checks.own_coverage
    python -m pytest -n 2 --dist worksteal --durations 5 $(for path in $pure; do echo "--ignore $path"; done)
}

test_some() {
    cd "$ROOT"
    for argument; do
        shift
        case $argument in
        k=*) set -- "$@" -k "${argument#k=}" ;;
        *) set -- "$@" "$argument" ;;
        esac
    done
    exec "$VENV/bin/python" -m pytest "$@"
}

lock() {
    cd "$ROOT"
    PATH=$VENV/bin:$PATH
    command -v uv >/dev/null || stop "uv is needed to lock: pip install uv"
    compile() {
        uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
            --no-annotate --python-version 3.11 "$@"
    }
    head='# Made by ./do lock from pyproject.toml: every version, with its hashes, for every platform.'
    { echo "$head" && compile pyproject.toml --group dev; } >requirements.txt.new
    mv requirements.txt.new requirements.txt
    { echo "$head" && compile pyproject.toml --constraint requirements.txt; } >requirements-run.txt.new
    mv requirements-run.txt.new requirements-run.txt
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
help | -h | --help) usage ;;
setup)
    setup
    say "next: ./do demo"
    ;;
demo | simulate)
    setup
    run orchestrator "$command" "$@"
    ;;
orchestrator)
    setup
    run orchestrator "$@"
    ;;
bench)
    setup
    run bench "$@"
    ;;
profile)
    setup
    run bench.profiling "$@"
    ;;
crash | soak | fuzz | simulation | surroundings)
    setup
    run "tests.harness.$command" "$@"
    ;;
acceptance)
    setup
    run tests.acceptance "$@"
    ;;
test)
    setup
    if [ $# -eq 0 ]; then test_all; else test_some "$@"; fi
    ;;
lint)
    setup
    lint
    ;;
build)
    setup
    cd "$ROOT"
    "$VENV/bin/python" -m hatchling build --target wheel "$@"
    ;;
docs)
    setup
    run tests.checks.settings_docs
    ;;
lock) lock ;;
*)
    usage >&2
    stop "there is no command $command"
    ;;
esac
