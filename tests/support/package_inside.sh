# SPDX-License-Identifier: Apache-2.0
# Runs inside a clean Debian, in a pid namespace of its own, with the package at /atoll.deb: see
# tests/package_test.sh. CGROUP: a name for the sandboxes' cgroup; IMAGES: not empty when an image is
# at /srv/images.
set -euo pipefail

fail() {
  echo "package_test: $*" >&2
  [ ! -e /var/log/atoll ] || tail -n 30 /var/log/atoll >&2
  exit 1
}

# get HOST PATH [METHOD]: the status and the body of an answer.
get() {
  exec 7<> "/dev/tcp/127.0.0.1/$port"
  printf '%s %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' \
    "${3:-GET}" "$2" "$1" "$port" >&7
  sed -e '1s/^HTTP[^ ]* \([0-9]*\).*/\1/' -e 's/\r$//' -e '1!{1,/^$/d}' <&7
  exec 7>&-
}

# What runs of Atoll, by the names of the programs: their paths are those of other mount namespaces.
pids_of_atoll() { grep -lxE 'atoll|atoll-agent|agent' /proc/[0-9]*/comm 2> /dev/null | cut -d/ -f3 || true; }

# As the unit starts it: its command, without the capabilities that it gives up, and with what
# ProtectSystem=full and PrivateTmp make of the file system.
start_daemon() {
  local unit=/usr/lib/systemd/system/atoll.service command dropped
  command=$(sed -n 's/^ExecStart=//p' $unit)
  dropped=$(sed -n 's/^CapabilityBoundingSet=~//p' $unit | tr 'A-Z ' 'a-z,' | sed 's/cap_/-/g')
  [ -n "$command" ] && [ -n "$dropped" ] || fail "the unit names no command or no capabilities"
  rm -f /run/atoll/address
  grep -qx ProtectSystem=full $unit && grep -qx PrivateTmp=yes $unit || fail "the unit protects less"
  unshare --mount bash -euc 'for dir in /usr /boot /etc; do
      mount --bind $dir $dir
      mount -o remount,bind,ro $dir
    done
    mount -t tmpfs tmpfs /tmp
    exec setpriv --bounding-set="$0" "$@"' "$dropped" $command > /dev/null 2>> /var/log/atoll &
  for _ in $(seq 200); do
    [ ! -s /run/atoll/address ] || break
    sleep 0.05
  done
  port=$(sed 's/.*://' /run/atoll/address) || fail "the daemon does not start"
  for _ in $(seq 100); do
    ready=$(get localhost /ready)
    [ "${ready%%$'\n'*}" != 200 ] || return 0
    sleep 0.05
  done
  [ -z "$IMAGES" ] || fail "the daemon is not ready: $ready"
}

# Frozen or not, nothing of a sandbox or the daemon runs, and nothing of it is mounted.
assert_nothing_runs() {
  for _ in $(seq 100); do
    [ -n "$(pids_of_atoll)" ] || break
    sleep 0.05
  done
  left=$(pids_of_atoll)
  [ -z "$left" ] || fail "$1 leaves processes: $left"
  ! grep -E ' /(run|var/lib)/atoll' /proc/self/mounts || fail "$1 leaves mounts"
}

install() { dpkg -i /atoll.deb > /tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; fail "dpkg -i fails"; }; }

install
apt-get check -q > /dev/null || fail "dependencies are missing"
[ "$(atoll version)" = "atoll $(dpkg-query -W -f '${Version}' atoll | sed 's/-[^-]*$//')" ] ||
  fail "atoll version is not the package's"
grep -q "atoll setup" /tmp/dpkg.log || fail "an installation does not say what comes next"
[ "$(stat -c %a:%U /etc/atoll/atoll.toml /usr/lib/atoll/atoll-agent | xargs)" = "640:root 755:root" ] ||
  fail "modes are not as they should be"
said=$(atoll setup 2>&1) && fail "atoll setup must fail without its tools"
[[ $said == *"npm is missing"* && $said == *"mmdebstrap is missing"* ]] ||
  fail "atoll setup must name the tools that are missing, not: $said"
echo "ok: it installs"

sed -i "s|^# listen = .*|listen = [\"127.0.0.1:0\"]|
  s|^# cgroup = .*|cgroup = \"$CGROUP\"|; s|^# images_dir = .*|images_dir = \"/srv/images\"|" /etc/atoll/atoll.toml
start_daemon
health=$(get localhost /health)
[[ $health == 200$'\n'*'"status":"ok"'* ]] || fail "/health answers $health"
[[ $(get localhost /metrics) == *atoll_build_info* ]] || fail "/metrics has no metrics"
[[ $(get localhost /) == 200*"<!doctype html>"* ]] || fail "the dashboard is not served"
daemon=$(cat /run/atoll/lock)
if [ -n "$IMAGES" ]; then
  atoll create demo --no-opencode > /dev/null || fail "no sandbox can be made"
  [ "$(atoll run demo 'id -u; echo kept > /workspace/file')" = 0 ] || fail "a sandbox runs nothing"
  echo "ok: the daemon serves, is ready, and makes sandboxes"
else
  echo "ok: the daemon serves; without an image in ATOLL_TEST_STATE no sandbox was made"
fi

install
[ "$(cat /run/atoll/lock)" = "$daemon" ] && [ -d "/proc/$daemon" ] || fail "an upgrade ends the daemon"
grep -q "^cgroup = \"$CGROUP\"" /etc/atoll/atoll.toml || fail "an upgrade changes the configuration"
[ -z "$IMAGES" ] || [ "$(atoll run demo 'cat /workspace/file')" = kept ] || fail "an upgrade ends sandboxes"
echo "ok: without systemd an upgrade leaves the daemon and sandboxes alone"

# What an upgrade asks systemd for, which does as the unit says.
unit=/usr/lib/systemd/system/atoll.service
mkdir -p /run/systemd/system
mv /usr/sbin/policy-rc.d /tmp/policy-rc.d
cat > /usr/local/bin/systemctl << 'STUB'
#!/bin/bash
words=()
for word; do [[ $word == -* ]] || words+=("$word"); done
echo "${words[*]}" >> /tmp/asked
case ${words[0]} in
  is-active | is-enabled) [ ! -e /tmp/inactive ] ;;
  reload)
    [ ! -e /tmp/no-reload ] || exit 1
    MAINPID=$(cat /run/atoll/lock)
    eval "$(sed -n 's/^ExecReload=//p' /usr/lib/systemd/system/atoll.service)" ;;
esac
STUB
chmod +x /usr/local/bin/systemctl

# What the daemon was asked to do by an upgrade.
asked() { grep -E '^(start|stop|reload|restart|try-restart|reload-or-restart) ' /tmp/asked || true; }
upgrade() { : > /tmp/asked && install; }

# A client that asks again and again, on a new connection each time.
( while [ ! -e /tmp/enough ]; do
    answer=$(get localhost /health 2>&1) && [[ $answer == 200$'\n'* ]] || echo "$answer" >> /tmp/refused
    echo >> /tmp/answers
  done ) &
client=$!
upgrade
sleep 0.5
touch /tmp/enough
wait $client
[ "$(asked)" = "reload atoll.service" ] || fail "an upgrade asks for: $(cat /tmp/asked)"
[ ! -e /tmp/refused ] || fail "an upgrade refuses connections: $(head -n 3 /tmp/refused)"
[ "$(wc -l < /tmp/answers)" -gt 20 ] || fail "the client asked only $(wc -l < /tmp/answers) times"
[ "$(cat /run/atoll/lock)" != "$daemon" ] || fail "no newer daemon has taken over"
[ -z "$IMAGES" ] || [ "$(atoll run demo 'cat /workspace/file')" = kept ] || fail "an upgrade ends sandboxes"
echo "ok: an upgrade lets the new daemon take over, and refuses nobody"

# `dpkg -i` puts the package's unit in the place of each of these.
sed -i 's/^# Sandboxes outlive.*/# Another remark./; s/^RestartSec=.*/RestartSec=7/' $unit
upgrade
[ "$(asked)" = "reload atoll.service" ] || fail "another remark in the unit asks for: $(cat /tmp/asked)"
sed -i 's/^LimitNOFILE=.*/LimitNOFILE=1024/' $unit
upgrade
[ "$(asked)" = "try-restart atoll.service" ] || fail "another limit in the unit asks for: $(cat /tmp/asked)"
upgrade
[ "$(asked)" = "reload atoll.service" ] || fail "a unit that has not changed asks for: $(cat /tmp/asked)"
touch /tmp/no-reload
upgrade
[ "$(asked)" = $'reload atoll.service\ntry-restart atoll.service' ] ||
  fail "a daemon that does not take over leads to: $(cat /tmp/asked)"
touch /tmp/inactive
upgrade
[ -z "$(asked)" ] || fail "a daemon that does not run leads to: $(cat /tmp/asked)"
rm /tmp/no-reload /tmp/inactive

# A program that cannot start: the reload says so soon, and the one that runs goes on.
daemon=$(cat /run/atoll/lock)
cp /etc/atoll/atoll.toml /tmp/atoll.toml
sed -i '1i no_such_key = 1' /etc/atoll/atoll.toml
if atoll --config /tmp/atoll.toml upgrade > /dev/null 2>&1; then
  fail "an upgrade to a daemon that cannot start succeeds"
fi
mv /tmp/atoll.toml /etc/atoll/atoll.toml
[ "$(cat /run/atoll/lock)" = "$daemon" ] && [[ $(get localhost /health) == 200* ]] ||
  fail "the running daemon does not go on"
rm -r /run/systemd /usr/local/bin/systemctl
mv /tmp/policy-rc.d /usr/sbin/policy-rc.d
echo "ok: it is restarted where only that helps"

dpkg -r atoll > /tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; fail "dpkg -r fails"; }
assert_nothing_runs "a removal"
[ ! -e /usr/bin/atoll ] && [ ! -e /usr/lib/atoll ] && [ ! -e /usr/share/atoll ] || fail "a removal leaves programs"
[ -e /etc/atoll/atoll.toml ] && [ -e /var/lib/atoll/atoll.db ] || fail "a removal takes configuration or state"
echo "ok: a removal stops sandboxes and daemon, and keeps configuration and state"

install
if [ -n "$IMAGES" ]; then
  start_daemon
  [ "$(atoll run demo 'cat /workspace/file')" = kept ] || fail "files are lost by a removal"
  # The daemon dies while a sandbox stands still.
  kill -KILL "$(cat /run/atoll/lock)"
  wait 2> /dev/null || true
  for leaf in $(find /sys/fs/cgroup -type d -path "*/$CGROUP/*" -name work); do
    if [ -e "$leaf/freezer.state" ]; then echo FROZEN > "$leaf/freezer.state"; fi
    if [ -e "$leaf/cgroup.freeze" ]; then echo 1 > "$leaf/cgroup.freeze"; fi
  done
  [ -n "$(pids_of_atoll)" ] || fail "the sandbox does not outlive the daemon"
fi
said=$(dpkg --purge atoll 2>&1) || fail "dpkg --purge fails: $said"
assert_nothing_runs "a removal without a daemon"
[ ! -e /etc/atoll ] && [ ! -e /run/atoll ] || fail "a purge leaves configuration"
[ -e /var/lib/atoll/atoll.db ] && [[ $said == *"/var/lib/atoll is kept"* ]] ||
  fail "a purge must keep the state and say so, not: $said"
echo "ok: a purge ends even a sandbox that stands still, and keeps what people made"

install
ATOLL_PURGE_STATE=1 dpkg --purge atoll > /dev/null 2>&1
[ ! -e /var/lib/atoll ] || fail "a purge that was told to keeps the state"
left=$(find / -xdev -path /srv -prune -o -name '*atoll*' -print | grep -v '^/atoll.deb$\|^/var/log/\|^/proc/\|^/sys/' || true)
[ -z "$left" ] || fail "left behind: $left"
echo "ok: nothing is left when that is asked for"
