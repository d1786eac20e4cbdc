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
  console ...           the console in a browser, with a simulator behind it; prints the link
  cluster               three workers and a PostgreSQL of their own, one worker killed, the report

  test [k=EXPR | ARGS]  the whole suite; the tests whose names match; whatever pytest takes
  lint                  ruff, mypy, import-linter, the project's own checks
  bench [NAME ... | quick=1]
                        every figure, measured here (15 minutes) and written to bench/RESULTS.md;
                        with arguments some of them, or all in a minute, printed only
  profile [n=... tls=0 verify=0]
                        where a campaign's CPU goes, as tables to paste into a change
  crash | soak | fuzz | simulation | surroundings | console-kills  [key=value ...]
                        the harnesses in their long form, e.g. ./do crash n=2000 seed=7
  cluster-faults [n=... only=kill,cut seed=... | short=1 | model=1 seeds=...]
                        the cluster under every fault, on a real PostgreSQL; model=1: its
                        protocol alone, in virtual time
  acceptance [NAME ... | --issue N | --short]
                        the real command against an independent server; --list names the scenarios

  setup                 the virtual environment only (every command does it when needed)
  build                 the wheel, into dist/ (or --directory DIR)
  pictures              draw docs/pictures anew (needs chromium)
  docs                  write what is made from the code: configs/example.toml, the table of settings
  lock                  pin the dependencies anew (needs uv and a package index)
  help                  this text

PYTHON=/path/to/python ./do ... chooses the interpreter (3.11 or later); each one so chosen has
an environment of its own, .venv-VERSION.
END
}

# ---------------------------------------------------------------- the virtual environment

ADVICE="install it, as root, on Debian or Ubuntu: apt-get install python3 python3-venv"

is_usable() {
    "$1" -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip, venv' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.14 python3.13 python3.12 python3.11 python3
    fi
    for python; do
        ! is_usable "$python" || return 0
    done
    stop "no Python 3.11 or later with its venv and ensurepip modules (tried $*);" \
        "$ADVICE, or name one: PYTHON=/path/to/python ./do ..."
}

VENV=$ROOT/.venv
if [ -n "${PYTHON:-}" ]; then
    VENV=$ROOT/.venv-$("$PYTHON" -c 'import platform; print(platform.python_version())') ||
        stop "PYTHON=$PYTHON is not a Python."
fi

# What the environment is made from: the place, the pins, the project file, the interpreter.
stamp_of() {
    version=$("$1" -c 'import sys; print(sys.version)') || return 1
    pins=$(cat "$ROOT/requirements.txt" "$ROOT/pyproject.toml" | cksum)
    printf '%s\n%s\n%s\n' "$ROOT" "$pins" "$version"
}

is_ready() {
    [ -f "$VENV/.ready" ] && [ -x "$VENV/bin/python" ] || return 1
    [ "$(cat "$VENV/.ready")" = "$(stamp_of "${PYTHON:-$VENV/bin/python}" 2>/dev/null)" ]
}

# Errors only: pip's warnings are about this machine's own settings, which stay in force
# (a proxy or an index set for it may be needed).
pip() {
    PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$VENV/bin/python" -m pip -qq --no-input "$@"
}

build_venv() {
    began=$(date +%s)
    say "setting up ${VENV##*/} with $("$python" -V) (once; about a minute)"
    rm -f "$VENV/.ready"
    # One of the same Python is used again: somebody may be running in it.
    "$VENV/bin/python" -c 'import pip, sys; sys.exit(sys.version != sys.argv[1])' \
        "$("$python" -c 'import sys; print(sys.version)')" 2>/dev/null ||
        "$python" -m venv --clear "$VENV" || stop "no environment could be made in $VENV; $ADVICE"
    # The lock alone decides: without --no-deps a release published later may (pip before 24 looks
    # for the newest of a package that another one asks for with an extra, and finds no hash).
    pip install --no-deps --require-hashes --only-binary :all: -r "$ROOT/requirements.txt" ||
        stop "the pinned packages could not be installed (the lines above say why)." \
            "A package index must be reachable; repeat the command to go on."
    pip install --no-deps --no-build-isolation --no-index --editable "$ROOT" ||
        stop "the project itself could not be installed (the lines above say why)."
    lacking=$("$VENV/bin/python" -m pip check) || stop "the lock is not complete: $lacking"
    stamp_of "$VENV/bin/python" >"$VENV/.new"
    mv "$VENV/.new" "$VENV/.ready"
    say "ready after $(($(date +%s) - began)) s"
}

setup() {
    ! is_ready || return 0
    [ -w "$ROOT" ] || stop "$ROOT is not writable for $(id -un), and ${VENV##*/} must be made in it."
    find_python
    # One setup at a time: fd 9 carries a lock that dies with this process. The lock belongs to the
    # open file, which the child shares with us, so it outlives the child that takes it.
    touch "$VENV.lock" || stop "$VENV.lock is not writable for $(id -un); remove it."
    exec 9>>"$VENV.lock"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || stop "cannot lock $VENV.lock"
    is_ready || build_venv
    exec 9>&-
}

# ---------------------------------------------------------------- the commands

# Runs a module in the environment, from the caller's directory, with the tests importable.
run() {
    program=$1
    shift
    setup
    PYTHONPATH=$ROOT exec "$VENV/bin/python" -m "$program" "$@"
}

# For commands of several steps: in the root, with the environment's programs on PATH.
inside() {
    setup
    cd "$ROOT"
    PATH=$VENV/bin:$PATH
}

lint() {
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
    pure=$(python -m tests.checks.own_coverage --tests)
    # Only the tests of the pure files are measured, which slows them: each file by its own tests.
    # They work all the time; the others wait for processes, servers and browsers most of it.
    python -m pytest -n 2 --dist worksteal --durations 5 $pure \
        --cov orchestrator --cov-context test --cov-report ''
    python -m tests.checks.own_coverage
    python -m pytest -n 4 --dist worksteal --durations 15 $(printf -- '--ignore %s ' $pure)
}

test_some() {
    for argument; do
        shift
        case $argument in
        k=*) set -- "$@" -k "${argument#k=}" ;;
        *) set -- "$@" "$argument" ;;
        esac
    done
    exec python -m pytest "$@"
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
# Messages name the next command as this one was called.
demo | simulate)
    export DO_CALLED_AS="$0"
    run orchestrator "$command" "$@"
    ;;
orchestrator)
    export DO_CALLED_AS="$0"
    run orchestrator "$@"
    ;;
console)
    export DO_CALLED_AS="$0"
    run tests.harness.console_try "$@"
    ;;
bench) run bench "$@" ;;
profile) run bench.profiling "$@" ;;
crash | soak | fuzz | simulation | surroundings | pictures) run "tests.harness.$command" "$@" ;;
console-kills) run tests.harness.console_kills "$@" ;;
acceptance) run tests.acceptance "$@" ;;
cluster) run tests.cluster.show ;;
cluster-faults) run tests.harness.cluster "$@" ;;
test)
    inside
    if [ $# -eq 0 ]; then test_all; else test_some "$@"; fi
    ;;
lint)
    inside
    lint
    ;;
build)
    inside
    python -m hatchling build --target wheel "$@"
    ;;
docs) run tests.checks.settings_docs ;;
lock) lock ;;
*)
    usage >&2
    stop "there is no command $command"
    ;;
esac
