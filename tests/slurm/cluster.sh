#!/usr/bin/env bash
# A SLURM of two nodes that are both this machine, with make-believe GPUs, for tests and for trying.
#
#   tests/slurm/cluster.sh up     # about ten seconds, once its packages are installed
#   tests/slurm/cluster.sh down   # stops it, and removes its configuration and its files
#
# For root on Debian 12, Ubuntu 22.04 or a near relative.  Leaves an existing SLURM alone.
# No accounting, no control groups; all daemons listen on this machine alone.  Each node claims 8
# CPUs, 256 GB and 4 GPUs, whatever the machine has.
set -euo pipefail

DIR=/tmp/cyborgs-slurm
ETC=/etc/slurm
MARK='# written by cluster.sh of cyborgs'
HOST=$(hostname -s)
NODES='cyborgs1 cyborgs2'

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

stop() { # stop PIDFILE COMMAND: only a process of that name, as a number may be another's by now
    local pid
    pid=$(cat "$1" 2> /dev/null) || return 0
    if [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "$2" ]; then
        kill "$pid"
        for _ in $(seq 100); do
            [ -e "/proc/$pid" ] || break
            sleep 0.1
        done
        kill -9 "$pid" 2> /dev/null || true
    fi
    rm -f "$1"
}

require_ours() {
    [ "$(id -u)" = 0 ] || fail "needs root"
    for file in slurm.conf gres.conf cgroup.conf; do
        if [ -e "$ETC/$file" ] && ! grep -qF "$MARK" "$ETC/$file"; then
            fail "$ETC/$file is another SLURM's; nothing was touched"
        fi
    done
    if ! [ -e "$ETC/slurm.conf" ] && { pgrep -x slurmctld || pgrep -x slurmd; } > /dev/null; then
        fail "a SLURM runs here already; nothing was touched"
    fi
}

install_packages() {
    command -v slurmctld > /dev/null && command -v slurmd > /dev/null &&
        command -v sbatch > /dev/null && command -v munged > /dev/null && return
    command -v apt-get > /dev/null || fail "needs apt-get (Debian or Ubuntu)"
    # The packages would start services of their own.
    local policy=/usr/sbin/policy-rc.d made=
    if ! [ -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy
        made=$policy
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
        --no-install-recommends slurmctld slurmd slurm-client munge; } > /tmp/cyborgs-slurm-apt.log 2>&1 ||
        fail "packages could not be installed, see /tmp/cyborgs-slurm-apt.log"
    rm -f $made
}

start_munge() {
    munge -n 2> /dev/null | unmunge > /dev/null 2>&1 && return
    install -d -o munge -g munge -m 755 /run/munge
    runuser -u munge -- munged --force
    touch "$DIR/munged-is-ours"
}

write_configuration() {
    for number in 0 1 2 3; do
        # SLURM wants a device file of each GPU; nobody opens it.
        [ -c "$DIR/gpu$number" ] || mknod "$DIR/gpu$number" c 1 3
    done
    cat > $ETC/slurm.conf << END
$MARK
ClusterName=cyborgs-test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool-%n
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/%n.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=600
KillWait=60
MessageTimeout=60
BatchStartTimeout=60
GresTypes=gpu
DefMemPerCPU=512
AccountingStorageType=accounting_storage/none
NodeName=cyborgs[1-2] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[17101-17102] CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=262144 Gres=gpu:fake:4 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE DefaultTime=10 State=UP
END
    printf '%s\nAutoDetect=off\nName=gpu Type=fake File=%s/gpu[0-3]\n' "$MARK" $DIR > $ETC/gres.conf
    printf '%s\nCgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' "$MARK" > $ETC/cgroup.conf
}

up() {
    require_ours
    install_packages
    mkdir -p $DIR/state $ETC
    start_munge
    write_configuration
    pgrep -x slurmctld > /dev/null || slurmctld
    for node in $NODES; do
        pgrep -f "^slurmd -N $node" > /dev/null || slurmd -N "$node"
    done
    local states
    for _ in $(seq 200); do
        states=$(timeout 5 sinfo --noheader --Node --partition cpu --format %T 2> /dev/null || true)
        if ! grep -vE '^(idle|mixed|allocated)$' <<< "$states" > /dev/null; then
            return
        fi
        if grep -E '^(down|drain)' <<< "$states" > /dev/null; then
            scontrol update NodeName=cyborgs[1-2] State=RESUME 2> /dev/null || true
        fi
        sleep 0.3
    done
    tail -n 5 $DIR/*.log >&2
    fail "the nodes do not come up"
}

down() {
    require_ours
    [ -e $ETC/slurm.conf ] || return 0
    scancel --user root --full --signal=KILL 2> /dev/null || true
    for node in $NODES; do
        stop "$DIR/$node.pid" slurmd
    done
    stop $DIR/slurmctld.pid slurmctld
    [ ! -e $DIR/munged-is-ours ] || stop /run/munge/munged.pid munged
    rm -rf $DIR $ETC/slurm.conf $ETC/gres.conf $ETC/cgroup.conf
}

case ${1-} in
    up) up ;;
    down) down ;;
    *) fail "say up or down" ;;
esac
