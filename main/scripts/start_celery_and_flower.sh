#!/usr/bin/env bash
# A worker and Flower by one command; --help tells more.
set -euo pipefail
CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
source scripts/venv.sh

usage() {
    cat <<'EOF_USAGE'
main/scripts/start_celery_and_flower.sh [--port PORT] [--app APP] [--wait SECONDS] [-- WORKER'S ARGUMENTS]

Starts a Celery worker and Flower, starts either again when it ends, and stops both on Ctrl-C.

  --port PORT     Flower's port on 127.0.0.1 (5555)
  --app APP       where the Celery app is (main.celery_app)
  --wait SECONDS  how long RabbitMQ and Redis may take to answer (60)

RabbitMQ and Redis are looked for in CELERY_BROKER_URL and CELERY_RESULT_BACKEND, then in the
containers rabbitmq and redis, then on localhost; without them the embedded engine is taken.
A password for Flower is made at the first start, shown once, and kept in a file.

  main/scripts/start_celery_and_flower.sh --port 5556 -- --concurrency 4

Exit status: 0 told to stop, 1 it can't go on, 2 usage, 5 a server does not answer.
EOF_USAGE
}
refuse() { echo "$1 (--help tells more)" >&2 && exit 2; }

port=5555 app=main.celery_app wait_s=60
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --) shift && break ;;
        --port | --app | --wait) (($# > 1)) || refuse "$1 needs a value" ;;&
        --port) port=$2 && shift 2 ;;
        --app) app=$2 && shift 2 ;;
        --wait) wait_s=$2 && shift 2 ;;
        *) refuse "unknown argument: $1; what is for the worker comes after --" ;;
    esac
done
[[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] || refuse "a port is a number from 1 to 65535, not '$port'"
[[ $wait_s =~ ^[0-9]{1,5}$ ]] || refuse "--wait is a number of seconds, not '$wait_s'"

# An environment that the caller has activated is theirs to choose, if it has what is needed.
has_all() {
    "$1" -c 'import sys; from importlib.util import find_spec as f; sys.exit(not (f("celery_collectors") and f("flower")))' 2>/dev/null
}
python=${VIRTUAL_ENV:-${CONDA_PREFIX:-.venv}}/bin/python
if [[ $python == .venv/* ]] || ! has_all "$python"; then
    make_venv flower
    python=.venv/bin/python
fi
exec "$python" -m main.scripts.start "$port" "$app" "$wait_s" "$@"
