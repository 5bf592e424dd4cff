#!/usr/bin/env bash
# A throw-away S3 server: one-node Ceph with RadosGW from Debian's packages, data in memory, loopback only. Lives as long as its standard input stays open, so
# nothing is left when the program that started it is killed.
# usage: radosgw-start.sh FOLDER PORT BASE    FOLDER is made and removed; PORT is the gateway's; the cluster takes BASE, BASE+1 and BASE+10 to BASE+100
# prints "ready"; then each line of standard input is a command: "restart" starts the gateway again after it was killed, and prints "ready" when it answers.
set -euo pipefail
folder=${1:?usage: radosgw-start.sh FOLDER PORT BASE} port=$2 base=$3
[ ! -e "$folder" ] || { echo "$folder exists" >&2; exit 1; }
mkdir -p "$folder"/{mon,osd,rgw,crash}

stop() {
  # shellcheck disable=SC2046
  kill -9 $(jobs -p) 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

fsid=$(cat /proc/sys/kernel/random/uuid)
classes=$(dirname "$(find /usr/lib -name libcls_rgw.so -print -quit)")
cat >"$folder/ceph.conf" <<C
[global]
fsid = $fsid
mon_initial_members = a
mon_host = [v2:127.0.0.1:$base,v1:127.0.0.1:$((base + 1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = $folder/keyring
auth_allow_insecure_global_id_reclaim = false
run_dir = $folder
admin_socket = $folder/\$name.asok
pid_file = $folder/\$name.pid
log_file = $folder/\$name.log
crash_dir = $folder/crash
mon_data = $folder/mon
# Each new pool waits for the monitor, which gathers changes for a second by default: with this a start takes 1 s, not 12.
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_data = $folder/osd
osd_objectstore = memstore
memstore_device_bytes = 6442450944
osd_class_dir = $classes
osd_memory_target = 1073741824
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
ms_bind_port_min = $((base + 10))
ms_bind_port_max = $((base + 100))
[client]
rgw_frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw_data = $folder/rgw
rgw_thread_pool_size = 32
rgw_num_control_oids = 1
rgw_enable_usage_log = false
rgw_enable_ops_log = false
# What was deleted gives its memory back at once, not after two hours.
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 2
C
export CEPH_CONF="$folder/ceph.conf"
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$base,v1:127.0.0.1:$((base + 1))]" "$folder/monmap" >&2
ceph-authtool -C "$folder/keyring" --gen-key -n mon. --cap mon 'allow *' >&2
ceph-authtool "$folder/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >&2
ceph-authtool "$folder/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd' >&2
ceph-authtool "$folder/keyring" --gen-key -n client.rgw --cap mon 'allow *' --cap osd 'allow *' >&2
ceph-mon -i a --mkfs --monmap "$folder/monmap" --keyring "$folder/keyring" >&2
ceph-mon -f -i a >&2 </dev/null &
osd=$(cat /proc/sys/kernel/random/uuid)
ceph osd new "$osd" 0 >&2 </dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >&2 </dev/null
ceph-osd -f -i 0 >&2 </dev/null &

gateway() {
  radosgw -f -n client.rgw >&2 </dev/null &
  local pid=$!
  until curl -fs -o "$folder/answer" --max-time 5 "http://127.0.0.1:$port/"; do
    kill -0 "$pid" || { echo "radosgw ended" >&2; exit 1; }
    sleep 0.05
  done
  echo "$pid" >"$folder/gateway.pid"
}

gateway
radosgw-admin user create --uid=test --display-name=test --access-key=test --secret-key=testsecret >&2 </dev/null
radosgw-admin user create --uid=stranger --display-name=stranger --access-key=stranger --secret-key=strangersecret >&2 </dev/null
echo ready
while read -r command; do
  [ "$command" = restart ] || { echo "no command '$command'" >&2; exit 1; }
  gateway
  echo ready
done
