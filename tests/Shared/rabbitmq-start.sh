#!/usr/bin/env bash
# A throw-away RabbitMQ of Debian's package: loopback only, no epmd. Lives as long as its standard input stays open, so nothing is left when the program that
# started it is killed.
# usage: rabbitmq-start.sh FOLDER PORT [LINE …]    FOLDER is made and removed; takes PORT, PORT+1 and PORT+2; further lines go into rabbitmq.conf
# prints "ready"; then each line of standard input is a command: "stop" ends the broker in order, "kill" by SIGKILL, "start" starts it again; each answers "ready".
set -euo pipefail
folder=${1:?usage: rabbitmq-start.sh FOLDER PORT [LINE …]} port=$2 dist=$(($2 + 1))
shift 2
[ ! -e "$folder" ] || { echo "$folder exists" >&2; exit 1; }
mkdir -p "$folder"/{mnesia,log,home}

broker=
stop() {
  [ -z "$broker" ] || kill -9 "$broker" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

{
  cat <<C
listeners.tcp.1 = 127.0.0.1:$port
loopback_users = none
log.console = false
log.file.level = info
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
# The default, 512 MiB, stays in memory until it is full.
raft.wal_max_size_bytes = 16777216
C
  [ $# -eq 0 ] || printf '%s\n' "$@"
} >"$folder/rabbitmq.conf"
echo '[].' >"$folder/plugins"
export HOME="$folder/home"
export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME="test-$port@localhost"
# A port where no epmd listens: the machine's own would know of every broker here.
export ERL_EPMD_PORT=$((port + 2)) ERL_CRASH_DUMP_SECONDS=0
export RABBITMQ_CONFIG_FILE="$folder/rabbitmq" RABBITMQ_MNESIA_BASE="$folder/mnesia" RABBITMQ_LOG_BASE="$folder/log"
export RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins" RABBITMQ_PID_FILE="$folder/pid" RABBITMQ_DIST_PORT="$dist"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-start_epmd false -erl_epmd_port $dist -kernel inet_dist_use_interface {127,0,0,1} +S 2:2 -rabbit dead_letter_worker_publisher_confirm_timeout 5000 +sbwt none"
# Then the script becomes the broker instead of standing beside it, and the id to signal is known.
export RUNNING_UNDER_SYSTEMD=true

start() {
  # Not the wrapper in /usr/sbin, which insists on the user rabbitmq.
  /usr/lib/rabbitmq/bin/rabbitmq-server >>"$folder/log/stdout.log" 2>&1 </dev/null &
  broker=$!
  # It opens its port when everything else is ready.
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    kill -0 "$broker" 2>/dev/null || { tail -n 30 "$folder"/log/* >&2; echo "rabbitmq-server ended" >&2; exit 1; }
    sleep 0.05
  done
}

end() {
  kill "-$1" "$broker" 2>/dev/null || true
  wait "$broker" 2>/dev/null || true
  broker=
}

start
echo ready
while read -r command; do
  case $command in
    start) start ;;
    stop) end TERM ;;
    kill) end KILL ;;
    *) echo "no command '$command'" >&2; exit 1 ;;
  esac
  echo ready
done
