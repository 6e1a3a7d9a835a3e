# SPDX-License-Identifier: Apache-2.0
# A Slurm of the test's own: munged, slurmctld and two slurmd on this machine, below
# $tmp/slurm, on ports of their own. slurm_start returns 1 and sets $slurm_why where that
# cannot be; slurm_stop ends all of it, by process id.

slurm_pids=
# Three that nobody has.
slurm_ports()
{
    for _i in 1 2 3; do
        free_port
        echo "$port"
    done
}

slurm_conf()
{
    cat <<END
ClusterName=raywf
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$1
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool-%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd-%n.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer_batch=0
ReturnToService=2
SlurmdTimeout=300
KillWait=2
MinJobAge=60
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$2 CPUs=2 RealMemory=2000 State=UNKNOWN
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$3 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=10 State=UP OverSubscribe=NO
END
}

slurm_idle() { [ "$(sinfo -h -N -o %t 2>/dev/null | grep -c idle)" = 2 ]; }

slurm_start()
{
    slurm_why=
    for _p in munged slurmctld slurmd sbatch srun squeue scontrol; do
        command -v $_p >/dev/null || slurm_why="$_p is not installed (slurm-wlm munge)"
    done
    [ "$(id -u)" = 0 ] || slurm_why='only root can start a Slurm of its own'
    [ -z "$slurm_why" ] || return 1
    slurm=$tmp/slurm
    mkdir -p "$slurm/munge" "$slurm/state" "$slurm/spool-n1" "$slurm/spool-n2"
    chmod 755 "$tmp" "$slurm" "$slurm/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$slurm/munge/key")
    munged --foreground --force --key-file="$slurm/munge/key" --socket="$slurm/munge/socket" \
        --pid-file="$slurm/munge/pid" --log-file="$slurm/munge/log" \
        --seed-file="$slurm/munge/seed" --num-threads=2 >"$slurm/munge/out" 2>&1 &
    slurm_pids=$!
    slurm_conf $(slurm_ports) >"$slurm/slurm.conf"
    export SLURM_CONF=$slurm/slurm.conf
    until_ok test -S "$slurm/munge/socket"
    slurmctld -D -i >"$slurm/slurmctld.out" 2>&1 &
    slurm_pids="$! $slurm_pids"
    for _n in n1 n2; do
        slurmd -D -N $_n >"$slurm/slurmd-$_n.out" 2>&1 &
        slurm_pids="$! $slurm_pids"
    done
    until_ok slurm_idle && return 0
    slurm_why="it does not come up: $(tail -n 2 "$slurm"/*.out "$slurm/slurmctld.log" 2>/dev/null | paste -sd' ')"
    return 1
}

# slurmd first; steps that are left end with their daemons.
slurm_stop()
{
    # Never those of another Slurm that this machine may be part of.
    [ -z "$slurm_pids" ] || SLURM_CONF=$slurm/slurm.conf scancel -u root >/dev/null 2>&1
    for _p in $slurm_pids; do
        kill "$_p" 2>/dev/null
        _i=0
        while kill -0 "$_p" 2>/dev/null && [ $_i -lt 200 ]; do
            sleep 0.1
            _i=$((_i + 1))
        done
        kill -9 "$_p" 2>/dev/null
        wait "$_p" 2>/dev/null
    done
    slurm_pids=
}
