#!/usr/bin/env bash
# What a store in a user's keyring costs beside one of age files: a first run, and one with nothing to do, in milliseconds.
# `cargo build --release --workspace && benches/keyring.sh 20 100 300`; takes dbus-run-session and gnome-keyring-daemon.
set -euo pipefail

if [ -z "${IN_SESSION:-}" ]; then
  IN_SESSION=1 exec dbus-run-session -- "$0" "$@"
fi
cd "$(dirname "$0")/.."
programs=$PWD/target/release
work=$(mktemp -d)
export HOME=$work XDG_RUNTIME_DIR=$work
unset DISPLAY WAYLAND_DISPLAY
children=()
finish() {
  kill "${children[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
gnome-keyring-daemon --foreground --unlock --components=secrets <<<password >/dev/null 2>&1 &
children+=($!)

took() {
  local begun=$EPOCHREALTIME
  "$programs/influx-tokend" --config "$work/tokens.toml" apply >/dev/null 2>&1
  awk "BEGIN { printf \"%.0f\", ($EPOCHREALTIME - $begun) * 1000 }"
}

for count in "$@"; do
  for kind in age secret-service; do
    "$programs/influx-sandbox" >"$work/said" &
    sandbox=$!
    children+=("$sandbox")
    until [ "$(wc -l <"$work/said")" = 2 ]; do sleep 0.1; done
    (umask 077 && sed -n 's/management token: //p' "$work/said" >"$work/management-token")
    {
      printf '[server]\nproduct = "clustered"\nurl = "%s"\n' "$(head -n 1 "$work/said")"
      printf 'management_token = { file = "%s/management-token" }\n' "$work"
      printf '[store]\nkind = "%s"\npath = "%s/%s-%s"\n' "$kind" "$work" "$kind" "$count"
      printf '[deliver.socket]\npath = "%s/run/secrets.sock"\n[lifecycle]\nprobe = false\n' "$work"
      for number in $(seq "$count"); do printf '[[token]]\nname = "t%s"\nwrite = ["telemetry"]\n' "$number"; done
    } >"$work/tokens.toml"
    mkdir -p "$work/run"
    printf '%s %s: first run %s ms, nothing to do %s ms\n' "$kind" "$count" "$(took)" "$(took)"
    kill "$sandbox"
  done
done
