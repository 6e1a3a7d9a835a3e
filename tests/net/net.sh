# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Hosts for tests: each a network namespace with an address of its own on one bridge, and a
# mount and a host name of its own. All of it is in namespaces that the test itself is in
# (also its process ids), so that when the test ends, however it does, the kernel removes
# every link, mount and process. Source it first, before any other thing is done:
#
#   . "$abs_top_srcdir/tests/net/net.sh"
#   net_enter "$0" "$@"          goes on within such namespaces; 77 with a word where it cannot
#   . "$abs_top_srcdir/tests/fault/lib.sh"     (or t/lib.sh), then
#   net_up 3                     hosts h1 h2 h3, 10.77.0.1 ..., known by name; "sw" is the test
#
#   net_on h1 COMMAND...         there, in the folder $net/h1
#   net_exec h1 COMMAND... &     the same in place of this shell: $! is the command's
#   net_ip h1
#   net_private h1 FOLDER [SIZE] FOLDER is empty there, and its own (a tmpfs)
#   net_block A B [oneway]       no packet from A reaches B, nor back; silently
#   net_cut A                    no packet to or from A
#   net_heal [A...]              all is well again, for all or these
#   net_loss A PERCENT           of what A gets is lost; 0: none
#   net_rate A RATE              to and from A, "200mbit"; 0: as fast as it goes
#   net_skew A SECONDS           commands started on A afterwards count their monotonic time
#                                from another moment (a machine that booted then)
#
# Proxies (proxy.c says what each command does):
#   proxy_start NAME HOST TO [PORT]   on HOST, to TO (HOST:PORT): its port is in $proxy_port
#   proxy NAME COMMAND...             one line of answer
# net_finish ends a test. Other helpers: until_ok COMMAND... (until.sh); net_count_fds PID; net_private_kib PID;
# net_own_kib PID (with its memory files)

. "$abs_top_srcdir/tests/until.sh"

# net_enter SCRIPT ARGUMENT...: again, within namespaces of its own.
net_enter()
{
    [ -z "${NET_INSIDE:-}" ] || { net__inside; return; }
    local flags=(-n -m -p -u --fork --mount-proc --kill-child) tool
    [ "$(id -u)" = 0 ] || flags+=(-U -r)
    for tool in ip tc nft nsenter unshare; do
        PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null && continue
        net__skip "there is no program '$tool' (Debian: iproute2 nftables util-linux)"
    done
    unshare "${flags[@]}" true 2>/dev/null ||
        net__skip 'this machine lets us make no network namespaces'
    NET_INSIDE=1 exec unshare "${flags[@]}" "$BASH" "$@"
}

net__skip()
{
    echo "skipped: $*"
    echo '0 passed, 0 failed, 1 skipped'
    exit 77
}

net__inside()
{
    PATH=$PATH:/usr/sbin:/sbin
    trap "exit 143" TERM INT # the first process of a name space hears nothing else
    mount --make-rprivate / 2>/dev/null
    ip link set lo up
    declare -gA net_pids=() net_skews=()
    net_all=()
}

net_ip() { if [ "$1" = sw ]; then echo 10.77.0.254; else echo "10.77.0.${1#h}"; fi; }

# net_up N: also more of them later.
net_up()
{
    local i first=$((${#net_all[@]} + 1))
    if [ "$first" = 1 ]; then
        net=$PWD/net
        mkdir -p "$net"
        ip link add name sw type bridge || return 1
        ip addr add 10.77.0.254/24 dev sw && ip link set sw up
        { echo '127.0.0.1 localhost'; echo '10.77.0.254 sw'; } >"$net/hosts"
        mount --bind "$net/hosts" /etc/hosts
        # Nobody here answers questions about names.
        sed 's/^hosts:.*//' /etc/nsswitch.conf >"$net/nsswitch"
        echo 'hosts: files' >>"$net/nsswitch"
        mount --bind "$net/nsswitch" /etc/nsswitch.conf
    fi
    for ((i = first; i < first + $1; i++)); do
        echo "10.77.0.$i h$i" >>"$net/hosts"
        net__host "h$i" "$i" || return 1
    done
}

# The host is what a process that sleeps holds.
net__host()
{
    local name=$1 i=$2 pid
    mkdir -p "$net/$name"
    unshare -n -m -u sh -c "hostname $name; echo up >'$net/$name.up'; exec sleep infinity" \
        </dev/null >/dev/null 2>&1 &
    pid=$!
    disown "$pid"
    until_ok test -s "$net/$name.up" || return 1
    net_pids[$name]=$pid
    net_all+=("$name")
    ip link add name "port$i" type veth peer name eth0 netns "$pid" || return 1
    ip link set "port$i" master sw up
    net_on "$name" sh -ec "ip link set lo up; ip addr add 10.77.0.$i/24 dev eth0
        ip link set eth0 up; ip route add default via 10.77.0.254
        nft -f -" <<END
table inet net {
    set silent { type ipv4_addr; }
    chain loss { }
    chain in {
        type filter hook input priority 0;
        ip saddr @silent drop
        iifname "eth0" jump loss
    }
}
END
}

net_exec()
{
    local host=$1 skew
    shift
    if [ "$host" = sw ]; then exec "$@"; fi
    skew=${net_skews[$host]:-}
    # shellcheck disable=SC2016 # for the shell there
    set -- sh -c 'cd "$1" || exit; shift; exec "$@"' - "$net/$host" "$@"
    [ -z "$skew" ] || set -- unshare -T --monotonic "$skew" --boottime "$skew" "$@"
    exec nsenter -t "${net_pids[$host]}" -n -m -u -- "$@"
}

net_on() { (net_exec "$@"); }

# net_private HOST FOLDER [SIZE]
net_private()
{
    net_on "$1" mount -t tmpfs -o "mode=700${3:+,size=$3}" raywf-test "$2"
}

net_block()
{
    net_on "$2" nft add element inet net silent "{ $(net_ip "$1") }"
    [ "${3:-}" = oneway ] || net_on "$1" nft add element inet net silent "{ $(net_ip "$2") }"
}

net_cut() { bridge link set dev "port${1#h}" state 0; }

net_heal()
{
    local host
    [ $# != 0 ] || set -- "${net_all[@]}"
    for host; do
        net_on "$host" nft flush set inet net silent
        bridge link set dev "port${host#h}" state 3
    done
}

net_loss()
{
    net_on "$1" nft flush chain inet net loss
    [ "$2" = 0 ] ||
        net_on "$1" nft add rule inet net loss numgen random mod 100 '<' "$2" drop
}

net_rate()
{
    local port=port${1#h}
    net_on "$1" tc qdisc del dev eth0 root 2>/dev/null
    tc qdisc del dev "$port" root 2>/dev/null
    [ "$2" != 0 ] || return 0
    net_on "$1" tc qdisc add dev eth0 root tbf rate "$2" burst 256kb latency 50ms &&
        tc qdisc add dev "$port" root tbf rate "$2" burst 256kb latency 50ms
}

net_skew() { net_skews[$1]=$2; }

net_count_fds() { find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l; }

# What of its memory is its alone.
net_private_kib() { awk '/^Private_/ { sum += $2 } END { print sum }' "/proc/$1/smaps_rollup"; }

# What a process has that nobody else shares: private pages, and its memory files.
net_own_kib()
{
    local f sum
    sum=$(net_private_kib "$1")
    for f in /proc/"$1"/fd/*; do
        case $(readlink "$f") in
        /memfd:*) sum=$((sum + $(stat -Lc %b "$f") / 2)) ;;
        esac
    done
    echo "$sum"
}

# The end, in place of finish: first of all that still runs here.
net_finish()
{
    # As the first of these processes we would otherwise end everybody's.
    [ $$ != 1 ] || { kill -9 -1 && wait; } 2>/dev/null
    finish
}

# --- proxies ---

# proxy_start NAME HOST TO [PORT]
proxy_start()
{
    local base=$net/proxy.$1
    rm -f "$base.in" "$base.out"
    mkfifo "$base.in"
    : >"$base.out"
    net_exec "$2" "$abs_top_builddir/tests/net/proxy" "$(net_ip "$2"):${4:-0}" "$3" <>"$base.in" >"$base.out" &
    proxy_pid=$!
    until_ok test -s "$base.out" || return 1
    proxy_port=$(sed -n 's/^listening //p' "$base.out")
}

# proxy NAME COMMAND...: its answer.
proxy()
{
    local base=$net/proxy.$1 before
    shift
    before=$(wc -l <"$base.out")
    echo "$*" >"$base.in"
    until_ok eval "[ \$(wc -l <'$base.out') -gt $before ]" || return 1
    tail -n +$((before + 1)) "$base.out" | head -n 1
}
