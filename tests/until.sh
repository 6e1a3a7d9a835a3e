# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Sourced by the lib.sh of the tests: waiting for what will be true, however slow the machine is,
# and what else holds on every machine.

# until_ok [SECONDS] COMMAND...: polls until the command succeeds. The bound, five minutes unless
# it is given, is only against hanging: one that a slow machine could reach is wrong.
until_ok()
{
    case $1 in
    [0-9]*) _bound=$1 && shift ;;
    *) _bound=300 ;;
    esac
    set -- $(($(date +%s) + _bound)) "$@"
    until until__try "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -le "$1" ] || return 1
        sleep 0.05
    done
}
until__try() { shift && "$@"; }

# has_lines FILE COUNT, at least
has_lines() { [ "$(cat "$1" 2>/dev/null | wc -l)" -ge "$2" ]; }
# gone PID: it has ended, be it that nobody has asked how.
gone() { ! grep -q '^State:[[:space:]]*[RSDTtI]' "/proc/$1/status" 2>/dev/null; }
# A port that nobody listens at, another one each time. Tests that run at once have ports of their
# own, and none that the kernel gives to others: it begins at 32768.
_port=$((20000 + $$ % 600 * 20))
free_port()
{
    _port=$((_port + 1))
    while grep -q "$(printf ':%04X 0\{8\}:0000 0A' $_port)" /proc/net/tcp; do
        _port=$((_port + 1))
    done
    port=$_port
}
