# Sourced by the commands of this folder: the edge and its peers, each on one core, each in front of the same origin, each with the same signed URLs.
#
# What is the same: the object, the URL ({path}?expires=N&sig=HMAC-SHA256), the check of its signature and expiry on every request with nothing kept per URL, the
# object in RAM or page cache before it is counted, access logs off, keep-alive without a bound, core 0 (the load has core 1).
# What is not:
#   edge     `delivery edge`, RAM tier; the check is the product's own.
#   nginx    one worker; proxy_cache with `slice 1m`, the check in Lua (signature.lua). Its cache is files: a hit is sendfile from the page cache (plaintext).
#   varnish  malloc storage, one thread pool: a thread per busy connection is its design, so it is not one thread. The check is vmod-digest (libmhash). Its log in shared memory
#            cannot be turned off. No TLS in Debian's.
#   ats      Traffic Server, one net thread, RAM cache; the check in its Lua plugin, the same file as nginx's. A range of a cold object is not cached by it: it is warmed by a
#            full GET. Its own url_sig plugin does MD5 and SHA-1 alone and uri_signing takes JSON web tokens: neither is this work.
# Where there is an init system, Debian's packages start their services when they are installed: stop and disable them (Traffic Server takes port 8080), they are not used here.
# The caller sets root, self, work (a temp folder) and origin (host:port). Ports are from $PEERS_PORT on.

port=${PEERS_PORT:-19000}
core_server=0 core_load=1
limit=$(ulimit -Hn)
ulimit -n "$limit"
declare -A plain_port=([edge]=$((port + 1)) [nginx]=$((port + 2)) [varnish]=$((port + 3)) [ats]=$((port + 4)))
declare -A tls_port=([edge]=$((port + 11)) [nginx]=$((port + 12)) [ats]=$((port + 14)))
edge_admin_port=$((port + 21))
declare -A server=()
others=()

need_peers() { # names…
  local name packages=(openssl=openssl curl=curl jq=jq taskset=util-linux pgrep=procps)
  for name in "$@"; do
    case $name in
      edge) need_sdk ;;
      nginx) packages+=(nginx=nginx /usr/lib/nginx/modules/ngx_http_lua_module.so=libnginx-mod-http-lua /usr/share/lua/5.1/resty/core.lua=lua-resty-core) ;;
      varnish) packages+=(varnishd=varnish "$(echo /usr/lib/*-linux-gnu)/varnish/vmods/libvmod_digest.so=varnish-vmod-digest") ;;
      ats) packages+=(traffic_server=trafficserver /usr/lib/trafficserver/modules/tslua.so=trafficserver) ;;
      wrk) packages+=(wrk=wrk) ;;
      *) say "no such contender: $name (edge nginx varnish ats)"; return 2 ;;
    esac
  done
  need "it compares the edge with its peers" "${packages[@]}"
}

end_peers() {
  local name
  for name in "${!server[@]}"; do stop_contender "$name"; done
  for name in "${others[@]}"; do kill "$name" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}

# Builds what is to be run, so that nothing is built while something is measured. The key is text: Varnish's strings end at a zero byte.
begin_peers() {
  "$root/delivery" keys --help >/dev/null
  key=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
  printf '{"keys": {"": "%s"}, "signing": ""}' "$(printf %s "$key" | base64 -w0)" >"$work/keys.json"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
  chmod a+x "$work" && chmod a+r "$work/key.pem" # nginx's worker is not root.
}

sign() { "$root/delivery" sign "$1" --expires 1d --keys "$work/keys.json" --data "$work"; }

base() { # contender transport
  if [ "$2" = tls ]; then echo "https://127.0.0.1:${tls_port[$1]}"; else echo "http://127.0.0.1:${plain_port[$1]}"; fi
}

version() {
  case $1 in
    edge) echo "edge $(git -C "$root" rev-parse --short HEAD 2>/dev/null || true) on .NET $(dotnet --list-runtimes | awk '/NETCore.App/ {v = $2} END {print v}')" ;;
    nginx) nginx -v 2>&1 | sed 's/nginx version: //' ;;
    varnish) varnishd -V 2>&1 | sed -n 's/^varnishd (\(varnish-[0-9.]*\).*/\1/p' ;;
    ats) traffic_server -V 2>&1 | sed -n 's/.*Traffic Server \([0-9.]*\).*/trafficserver-\1/p' | head -n 1 ;;
  esac
}

machine() {
  printf '%s, %s cores; kernel %s; %s; load average %s' "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ //')" "$(nproc)" "$(uname -r)" \
    "$(for name in "$@"; do version "$name"; done | paste -sd ';' | sed 's/;/; /g')" "$(cut -d' ' -f1 /proc/loadavg)"
}

listening() { # port pid what
  local _
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  say "$3 did not start"
  tail -n 30 "$work/$3.log" >&2 || true
  return 1
}

start_contender() {
  mkdir -p "$work/$1"
  "start_$1"
  listening "${plain_port[$1]}" "${server[$1]}" "$1"
}

stop_contender() {
  local pid=${server[$1]:-} child
  [ -n "$pid" ] || return 0
  unset "server[$1]"
  child=$(pgrep -P "$pid" || true)
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 20); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" $child 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  rm -rf "${work:?}/$1"
}

# EDGE_CONFIG='{"limits": {…}}' adds to the edge's configuration. Loopback is exempt from its limits by default: what counting costs it there is not measured, as the peers count nothing.
# EDGE_UPSTREAM=http (default) fills from the origin; =store from a folder that the caller has filled ($work/store), where the origin sees nothing.
start_edge() {
  local upstreams='[{"kind":"http","address":"http://'$origin'"}]' store=()
  if [ "${edge_upstream:-http}" = store ]; then
    mkdir -p "$work/store"
    upstreams='[{"kind":"store"}]' store=(--store "$work/store")
  fi
  jq -n --argjson upstreams "$upstreams" --argjson extra "${EDGE_CONFIG:-{\}}" '{edge: ({upstreams: $upstreams} + $extra)}' >"$work/edge.config"
  rm -f "$work/edge.ready"
  # The shell script in front of the program must not be measured: ask it for the line that the program prints; exec keeps the id.
  taskset -c $core_server "$root/delivery" edge --json --config "$work/edge.config" "${store[@]}" --keys "$work/keys.json" --host 127.0.0.1 \
    --port "${plain_port[edge]}" --tls-port "${tls_port[edge]}" --admin-port "$edge_admin_port" --certificate "$work/cert.pem" --certificate-key "$work/key.pem" \
    >"$work/edge.ready" 2>"$work/edge.log" &
  server[edge]=$!
  for _ in $(seq 1200); do
    [ -s "$work/edge.ready" ] && return 0
    kill -0 "${server[edge]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/edge.log" >&2
  return 1
}

start_nginx() {
  cat >"$work/nginx/nginx.conf" <<E2
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
worker_processes 1; worker_rlimit_nofile $limit; daemon off;
pid $work/nginx/pid; error_log $work/nginx.log;
events { worker_connections $((limit - 100)); }
http {
  access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000000; keepalive_timeout 600s;
  open_file_cache max=10000;
  ssl_protocols TLSv1.3; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;
  client_body_temp_path $work/nginx/body; proxy_temp_path $work/nginx/temp; fastcgi_temp_path $work/nginx/f; uwsgi_temp_path $work/nginx/u; scgi_temp_path $work/nginx/s;
  proxy_cache_path $work/nginx/cache levels=1:2 keys_zone=audio:64m max_size=8g inactive=1d use_temp_path=off;
  lua_package_path "$root/bench/peers/?.lua;;";
  init_by_lua_block {
    require "resty.core"
    verify = require("signature").verifier("$key", require("ngx.base64").decode_base64url)
  }
  upstream origin { server $origin; keepalive 64; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${plain_port[nginx]} backlog=16384; listen 127.0.0.1:${tls_port[nginx]} ssl;
    location / {
      access_by_lua_block {
        local refused = verify(ngx.var.uri, ngx.var.arg_expires, ngx.var.arg_sig, ngx.time())
        if refused then return ngx.exit(refused) end
      }
      slice 1m;
      proxy_cache audio; proxy_cache_key \$uri\$slice_range; proxy_cache_valid 200 206 1d;
      proxy_cache_lock on; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s;
      proxy_set_header Range \$slice_range; proxy_set_header Connection ""; proxy_http_version 1.1;
      proxy_pass http://origin\$uri;
    }
  }
}
E2
  taskset -c $core_server nginx -c "$work/nginx/nginx.conf" -p "$work/nginx" -e "$work/nginx.log" >>"$work/nginx.log" 2>&1 &
  server[nginx]=$!
}

start_varnish() {
  cat >"$work/varnish/default.vcl" <<E2
vcl 4.1;
import digest;
import std;
backend origin { .host = "${origin%:*}"; .port = "${origin#*:}"; .max_connections = 10000; }
sub vcl_recv {
  if (req.url !~ "^/[^?]+\?expires=[0-9]+&sig=[A-Za-z0-9_-]{43}\$") { return (synth(403)); }
  set req.http.Expires-At = regsub(req.url, "^[^?]*\?expires=([0-9]+)&.*\$", "\1");
  set req.http.Given = regsub(req.url, "^.*&sig=", "");
  set req.url = regsub(req.url, "\?.*\$", "");
  if (digest.base64url_nopad_hex(digest.hmac_sha256("$key", req.url + ":" + req.http.Expires-At)) != req.http.Given) { return (synth(403)); }
  if (std.integer(req.http.Expires-At, 0) < std.time2integer(now, 0)) { return (synth(410)); }
  unset req.http.Expires-At;
  unset req.http.Given;
  return (hash);
}
E2
  taskset -c $core_server varnishd -F -n "$work/varnish/state" -f "$work/varnish/default.vcl" -a "127.0.0.1:${plain_port[varnish]}" -s malloc,2G -T none \
    -p thread_pools=1 -p thread_pool_min=200 -p thread_pool_max=5000 -p thread_queue_limit=20000 -p listen_depth=16384 -p timeout_idle=600 >"$work/varnish.log" 2>&1 &
  server[varnish]=$!
}

start_ats() {
  local home=$work/ats
  mkdir -p "$home"/{etc,run,log,cache,local}
  cat >"$home/runroot.yaml" <<E2
prefix: $home
exec_prefix: $home
bindir: /usr/bin
sbindir: /usr/bin
sysconfdir: $home/etc
datadir: $home/local
includedir: /usr/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: $home/local
runtimedir: $home/run
logdir: $home/log
mandir: $home/local
infodir: $home/local
cachedir: $home/cache
E2
  cat >"$home/etc/records.config" <<E2
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.http.server_ports STRING ${plain_port[ats]}:ip-in=127.0.0.1 ${tls_port[ats]}:ip-in=127.0.0.1:ssl
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.http.cache.required_headers INT 0
CONFIG proxy.config.cache.ram_cache.size INT 1G
CONFIG proxy.config.cache.ram_cache_cutoff INT 64M
CONFIG proxy.config.cache.limits.http.max_alts INT 5
CONFIG proxy.config.http.insert_response_via_str INT 0
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 600
CONFIG proxy.config.net.connections_throttle INT $limit
CONFIG proxy.config.net.listen_backlog INT 16384
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.ssl.server.cert.path STRING $work
CONFIG proxy.config.ssl.server.private_key.path STRING $work
CONFIG proxy.config.body_factory.enable_customizations INT 0
E2
  echo "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem" >"$home/etc/ssl_multicert.config"
  echo "$home/cache 1G" >"$home/etc/storage.config"
  cp /etc/trafficserver/ip_allow.yaml "$home/etc/"
  cat >"$home/etc/check.lua" <<E2
package.path = "$root/bench/peers/?.lua;" .. package.path
local verify = require("signature").verifier("$key", function(text) return ts.base64_decode(text .. "=") end)
function do_remap()
  local query = ts.client_request.get_uri_args() or ""
  local expires, sig = string.match(query, "^expires=(%d+)&sig=([%w_-]+)\$")
  local refused = verify(ts.client_request.get_uri(), expires, sig, ts.now())
  if refused then
    ts.http.set_resp(refused, "refused\\n")
    return TS_LUA_REMAP_DID_REMAP
  end
  ts.client_request.set_uri_args("")
  return TS_LUA_REMAP_DID_REMAP
end
E2
  : >"$home/etc/plugin.config"
  echo "map / http://$origin/ @plugin=tslua.so @pparam=--states=1 @pparam=$home/etc/check.lua" >"$home/etc/remap.config"
  (cd "$home" && exec env TS_RUNROOT="$home/runroot.yaml" taskset -c $core_server traffic_server --run-root="$home/runroot.yaml" >"$work/ats.log" 2>&1) &
  server[ats]=$!
}

# Server CPU in clock ticks: the process and its children (nginx's workers, Varnish's child).
ticks() {
  local pid total=0
  for pid in "${server[$1]}" $(pgrep -P "${server[$1]}" || true); do
    total=$((total + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')))
  done
  echo "$total"
}

median() { sort -n | awk '{v[NR] = $1} END {if (NR) printf "%.10g\n", (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# The names, in an order that turns with the round: a drift of the machine hits all.
turned() { # round names…
  local round=$1 all i
  shift
  all=("$@")
  for ((i = 0; i < ${#all[@]}; i++)); do printf '%s ' "${all[(i + round) % ${#all[@]}]}"; done
}

# --- the load tool and its scripted origin (bench/Load) ---
load_program=$root/artifacts/bin/Load/release/Delivery.Bench.Load.dll
build_load() {
  if [ ! -e "$load_program" ] || [ -n "$(find "$root/bench/Load" "$root/src/TokenAuth" -name '*.cs*' -newer "$load_program" -not -path '*/obj/*' -print -quit)" ]; then
    say "building the load tool"
    dotnet build "$root/bench/Load/Load.csproj" -c Release -v q -nodeReuse:false -clp:NoSummary >&2
  fi
}
load() { taskset -c $core_load dotnet "$load_program" "$@"; }

# The origin shares the load's core. Sets origin; $edge_upstream is http unless EDGE_UPSTREAM=store.
start_origin() { # bytes [delay-ms] [bytes-per-second]
  edge_upstream=${EDGE_UPSTREAM:-http}
  origin=127.0.0.1:$port
  taskset -c $core_load dotnet "$load_program" origin --listen "$origin" --bytes "$1" --delay-ms "${2:-0}" --bytes-per-second "${3:-0}" >"$work/origin.log" 2>&1 &
  others+=($!)
  listening "$port" $! origin
}

origin_of() { [ "$1" = edge ] && [ "$edge_upstream" = store ] || echo "$origin"; } # nothing when the edge reads its store

# With EDGE_UPSTREAM=store: the object where the edge finds it.
store_object() { # path bytes
  [ "$edge_upstream" = store ] || return 0
  mkdir -p "$work/store$(dirname "$1")"
  dotnet "$load_program" object --path "$1" --bytes "$2" >"$work/store$1"
}

server_pids() { { echo "${server[$1]}"; pgrep -P "${server[$1]}" || true; } | paste -sd,; }

hex() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# The median over rounds of one field in files of one JSON object a line.
field() { jq -r ".$2 // empty" "$1" | median; } # file field
span() { jq -r ".$2 // empty" "$1" | sort -n | sed -n '1p;$p' | paste -sd' ' | awk '{printf "%.1f – %.1f", $1, $2}'; }
