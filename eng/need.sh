# Sourced by ./delivery and ./test: installs Debian packages that are missing, or says which they are.
# Usage: need "why, in a few words" command=package [command=package …]; a name that starts with / is a file (of a package that has no command).

say() { printf '%s: %s\n' "$self" "$*" >&2; }

need() {
  local why=$1 pair missing=() as_root=()
  shift
  for pair in "$@"; do
    [ -e "${pair%%=*}" ] && [[ $pair = /* ]] || command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if ! command -v apt-get >/dev/null 2>&1; then
    say "please install ${missing[*]} ($why); this system has no apt-get"
    return 3
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      say "${missing[*]} missing ($why) and no rights to install; run: sudo apt-get install --no-install-recommends ${missing[*]}"
      return 3
    fi
  fi
  say "installing ${missing[*]} from Debian ($why)"
  local log
  log=$(mktemp)
  # The list may be old or empty on a fresh machine; update only when the install fails without it.
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1 &&
     ! { "${as_root[@]}" apt-get update -q >"$log" 2>&1 &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1; }; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    say "could not install ${missing[*]}"
    return 3
  fi
  rm -f "$log"
}

need_sdk() {
  if ! command -v dotnet >/dev/null 2>&1; then
    say "the .NET 10 SDK is missing (it builds and runs everything): https://dotnet.microsoft.com/download/dotnet/10.0"
    return 3
  fi
  if ! (cd "$root" && dotnet --version >/dev/null 2>&1); then
    say "no .NET SDK that satisfies global.json (10.0): $(dotnet --list-sdks | tr '\n' ' ')"
    return 3
  fi
}
