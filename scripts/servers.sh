# shellcheck shell=bash
# Sourced in the root: `provide_servers` sees to a Redis and a RabbitMQ for the tests, by the first of these that works: URLs that
# are given, programs on this machine, apt-get, docker. The tests start and stop programs themselves; what runs is never touched.
# `provide_browser` does the same for Chromium, of which there is no container: without it the tests of the page are skipped.

provide_servers() {
    # shellcheck disable=SC2046 # names without spaces
    [[ -z $(lacking) ]] || install_by_apt $(lacking) || true
    for program in $(lacking); do
        run_in_docker "$program" || fail "$(ways_to_get "$(lacking | paste -sd ' ' -)")"
    done
}

provide_browser() {
    command -v chromium chromium-browser google-chrome >/dev/null || install_by_apt chromium || true
}

lacking() {
    local PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/sbin
    [[ -n ${COLLECTORS_TEST_REDIS_URL:-} ]] || command -v redis-server >/dev/null || echo redis-server
    [[ -n ${COLLECTORS_TEST_AMQP_URL:-} ]] || command -v rabbitmq-server >/dev/null || echo rabbitmq-server
}

install_by_apt() {
    command -v apt-get >/dev/null && as_root true 2>/dev/null || return
    echo "installing $* with apt-get, once: about a minute" >&2
    ( # a shell of its own, for the trap: without this file Debian would start what it installs
        [[ -e $no_start ]] || trap 'as_root rm -f "$no_start"' EXIT
        [[ -e $no_start ]] || printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$no_start"
        apt update || true # what is known may do, when one of many repositories is away
        apt install --no-install-recommends "$@"
    )
    for service in "$@" epmd.service epmd.socket; do # nor at the next boot
        as_root systemctl disable "$service" >/dev/null 2>&1 || true
    done
}
no_start=/usr/sbin/policy-rc.d
as_root() { if [[ $EUID == 0 ]]; then "$@"; else sudo -n "$@"; fi; }
apt() {
    local said
    said=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" 2>&1 </dev/null) || echo "$said" >&2
}

# Sets the URL of a server in a container that ends with this script. A docker without an engine is none.
run_in_docker() {
    docker info >/dev/null 2>&1 || return
    echo "starting $1 with docker" >&2
    case $1 in
        redis-server) start_container COLLECTORS_TEST_REDIS_URL redis:// 6379 "redis-cli ping" redis:7 --appendonly yes ;;
        *) start_container COLLECTORS_TEST_AMQP_URL amqp:// 5672 "rabbitmq-diagnostics -q check_running" rabbitmq:3 ;;
    esac
}
start_container() {
    local variable=$1 scheme=$2 port=$3 check=$4 within_s=$((SECONDS + 120)) id
    id=$(docker run --detach --rm --publish "127.0.0.1::$port" "${@:5}") || return
    containers="${containers:-} $id" && trap 'docker kill $containers >/dev/null' EXIT
    # shellcheck disable=SC2086 # a command and its arguments
    until docker exec "$id" $check >/dev/null 2>&1; do ((SECONDS < within_s)) && sleep 0.5 || return; done
    export "$variable=$scheme$(docker port "$id" "$port/tcp" | head -n 1)"
}
ways_to_get() {
    echo "scripts/test: not here: $1; apt-get is not there, not ours to use or failed, and docker has no engine. Install them"
    echo "(apt install redis-server rabbitmq-server, brew install redis rabbitmq), or set COLLECTORS_TEST_REDIS_URL and"
    echo "COLLECTORS_TEST_AMQP_URL to servers that run, or go without: scripts/test --embedded"
}
