#!/bin/sh
# slurm.sh start: a Slurm of one node on this machine, from Debian's packages; slurm.sh stop: takes it down again.
# Needs root. A Slurm that is already configured here is left alone.
set -eu
conf=/etc/slurm/slurm.conf
mark="# made by tests/workflow/slurm.sh"
case "$1" in
start)
    if [ -e "$conf" ] && ! grep -q "$mark" "$conf"; then
        echo "There is a Slurm here already ($conf)." >&2
        exit 1
    fi
    mkdir -p /etc/slurm /run/munge /var/lib/munge /var/log/munge /var/spool/slurmctld /var/spool/slurmd
    [ -e /etc/munge/munge.key ] || { head -c 1024 /dev/urandom > /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
    chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge
    host=$(hostname -s)
    cat > "$conf" <<END
$mark
ClusterName=one
SlurmctldHost=$host
AuthType=auth/munge
SlurmUser=root
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=300
NodeName=$host CPUs=$(env -u OMP_NUM_THREADS nproc) RealMemory=$(awk '/MemTotal/ { print int($2 / 1100) }' /proc/meminfo) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
    pgrep -x munged > /dev/null || runuser -u munge -- munged
    slurmctld -c
    slurmd -c
    for second in $(seq 30); do
        if sinfo -h -o %T | grep -q idle; then exit 0; fi
        sleep 1
    done
    sinfo >&2
    exit 1
    ;;
stop)
    grep -q "$mark" "$conf"
    scontrol shutdown > /dev/null || true
    pkill -x slurmd || true
    pkill -x slurmctld || true
    pkill -x munged || true
    rm "$conf"
    ;;
esac
