# SPDX-License-Identifier: Apache-2.0
# Runs in a machine with systemd and cgroup v2, once at each of its two boots: see tests/vm_test.sh.
# An emulated machine is twenty times slower than any other, so nothing here looks at the time.
set -uo pipefail

fail() {
  echo "failed: $*"
  systemctl status --no-pager -l atoll atoll-sandboxes
  journalctl -u atoll -u atoll-sandboxes --no-pager -n 40
  sync
  systemctl poweroff --force
  exit 1
}

# eventually WHAT COMMAND..: until it succeeds, five minutes at most.
eventually() {
  local what=$1
  shift
  for _ in $(seq 300); do
    if "$@" > /dev/null 2>&1; then return 0; fi
    sleep 1
  done
  fail "did not happen: $what"
}

# call ID PATH JSON: a POST to the host of a sandbox.
call() {
  curl -sS -m 600 -X POST -H "Host: $1.localhost" -H 'Content-Type: application/json' -d "${3:-{\}}" \
    "http://127.0.0.1:8787$2"
}
ready() { curl -sf -m 10 http://127.0.0.1:8787/ready; }
daemon() { systemctl show -p MainPID --value atoll; }
sleeper() { atoll run demo 'pgrep -x sleep'; }
still_there() {
  [ "$(sleeper)" = "$number" ] || fail "$1 ends the programs in a sandbox"
  [ "$(atoll run demo 'cat /workspace/file')" = kept ] || fail "$1 loses files"
}

# with FILE VALUE: the leaves of programs in which the file says so.
with() {
  find "$group" -mindepth 2 -maxdepth 2 -name work | while read -r leaf; do
    if [ "$(cat "$leaf/$1")" = "$2" ]; then echo "$leaf"; fi
  done
}

group=/sys/fs/cgroup/system.slice/atoll-sandboxes.service/atoll

first_boot() {
  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || fail "the machine has no cgroup v2"
  dpkg -i /root/atoll.deb > /tmp/dpkg.log 2>&1 || fail "dpkg -i: $(tail -n 3 /tmp/dpkg.log)"
  eventually "the daemon is ready" ready
  [[ $(atoll doctor) == *"v2: memory pids cpu freezer io"* ]] || fail "doctor: $(atoll doctor)"
  atoll create demo --no-opencode > /dev/null || fail "no sandbox can be made"
  atoll run demo 'echo kept > /workspace/file; setsid sleep 1000000 > /dev/null 2>&1 < /dev/null &'
  number=$(sleeper)
  [ -n "$number" ] || fail "nothing can be left running"
  [ -d "$group" ] && [ ! -e /sys/fs/cgroup/system.slice/atoll.service/atoll ] ||
    fail "sandboxes are not in the unit that is theirs"
  echo "ok: it is installed, serves and makes sandboxes in a unit of their own"

  systemctl restart atoll || fail "systemctl restart fails beside a sandbox"
  eventually "it is ready after a restart" ready
  still_there "a restart"
  kill -KILL "$(daemon)"
  eventually "it is ready after a crash" ready
  still_there "a crash"
  before=$(daemon)
  systemctl reload atoll || fail "systemctl reload fails"
  [ "$(daemon)" != "$before" ] || fail "a reload starts no new daemon"
  still_there "an upgrade"
  # The one that took over is systemd's own from now on.
  kill -KILL "$(daemon)"
  eventually "it is ready after a crash of the new one" ready
  still_there "a crash after an upgrade"
  systemctl stop atoll
  pgrep -x sleep > /dev/null || fail "a stop of the daemon ends sandboxes"
  [[ $(atoll doctor --leaks) == *" 0 leaks"* ]] || fail "without a daemon: $(atoll doctor --leaks)"
  systemctl start atoll || fail "systemctl start fails beside a sandbox"
  eventually "it is ready again" ready
  still_there "a stop"
  echo "ok: sandboxes outlive restarts, crashes and upgrades of the daemon"

  call small /create '{"opencode":false,"memory":"64M","pids":64,"cpus":0.5,"weight":500}' > /dev/null
  [[ $(call small /run '{"command":"tail /dev/zero"}') == *'"outOfMemory":true'* ]] ||
    fail "a program that takes too much memory is not said to"
  [[ $(call small /run '{"command":"for i in $(seq 200); do sleep 60 & done"}') == *"fork"* ]] ||
    fail "a sandbox may have more processes than it may"
  leaf=$(with memory.max 67108864)
  of=$(dirname "$leaf")
  [ "$(cat "$leaf/cpu.max")" = "50000 100000" ] || fail "cpu.max is $(cat "$leaf/cpu.max")"
  [ "$(cat "$leaf/memory.swap.max")" = 0 ] || fail "swap is not forbidden"
  [ "$(cat "$of/cpu.weight")" = 500 ] || fail "cpu.weight is $(cat "$of/cpu.weight")"
  grep -qx 'default 500' "$of"/io*.weight || fail "the weight of I/O is not set"
  [ "$(atoll run small 'cat /sys/fs/cgroup/memory.max')" = 67108864 ] ||
    fail "programs do not see their limit of memory"
  echo "ok: limits hold"

  if ! { modprobe zram && echo 1G > /sys/block/zram0/disksize && mkswap /dev/zram0 > /dev/null; }; then
    echo "skipped: this kernel has no zram"
  else
    swapon /dev/zram0
    atoll run demo 'python3 -c "
import time
held = bytes(range(256)) * 4096 * 60
open(\"/tmp/held\", \"w\").close()
time.sleep(1e6)" > /dev/null 2>&1 < /dev/null & until [ -e /tmp/held ]; do sleep 0.2; done'
    atoll sleep demo > /dev/null || fail "it does not sleep"
    # A member of the pool sleeps, too, and has its OpenCode.
    leaf=$(with cgroup.freeze 1 | while read -r one; do
      [ "$(grep -c . "$one/cgroup.procs")" -gt 3 ] || echo "$one"
    done | head -n 1)
    held=$(cat "$leaf/memory.current")
    [ "$held" -lt 31457280 ] || fail "asleep it holds $held bytes of memory"
    [ "$(cat "$leaf/memory.swap.max")" = 0 ] || fail "what ran may be swapped later"
    still_there "a sleep on zram"
    echo "ok: asleep on zram it holds $((held >> 10)) KiB of 60 MiB and goes on"
  fi

  if [ -x /var/lib/atoll/criu/criu ]; then
    for round in 1 2; do
      atoll stop demo --keep-memory > /dev/null || fail "memory is not kept ($round)"
      still_there "a stop that keeps memory ($round)"
    done
    [[ $(call demo /fork '{"id":"copy","memory":true}') == *'"memory":true'* ]] ||
      fail "no fork with memory: $(call demo /fork '{"id":"copy","memory":true}')"
    [ "$(atoll run copy 'pgrep -x sleep')" = "$number" ] || fail "the copy does not run"
    [ "$(atoll run copy 'cat /sys/fs/cgroup/pids.current')" -gt 0 ] || fail "a copy sees no limits"
    [[ $(atoll run copy 'grep " /sys/fs/cgroup " /proc/self/mountinfo') == *" /sys/fs/cgroup ro,"* ]] ||
      fail "the cgroup of a copy is not mounted read-only"
    atoll rm copy > /dev/null
    echo "ok: memory is kept, and copied"
  fi

  # As `make run` starts it: below a group that systemd hands to nobody, beside programs of others.
  (
    export ATOLL_LISTEN=127.0.0.1:8799 ATOLL_STATE_DIR=/var/lib/second ATOLL_RUN_DIR=/run/second
    export ATOLL_SANDBOX_CGROUP=second ATOLL_SANDBOX_IMAGES_DIR=/var/lib/atoll/images ATOLL_POOL_WARM_TARGET=0
    mkdir -p /var/lib/second
    chmod 0711 /var/lib/second
    atoll serve > /tmp/second.log 2>&1 &
    second=$!
    eventually "a daemon without a unit is ready" curl -sf -m 10 http://127.0.0.1:8799/ready
    atoll create other --no-opencode > /dev/null && [ "$(atoll run other 'echo here')" = here ] ||
      { echo "failed: without a unit: $(tail -n 3 /tmp/second.log)"; exit 1; }
    atoll rm other > /dev/null
    kill -TERM $second
    wait $second
  ) || fail "a daemon without a unit does not work"
  [ ! -e /sys/fs/cgroup/second ] || fail "a daemon without a unit leaves its group"
  echo "ok: without a unit it works, too"

  call lasting /create '{"opencode":false,"keepAlive":true}' > /dev/null
  sync
  echo "going down"
  touch /root/second
  systemctl reboot
}

second_boot() {
  eventually "the daemon is ready after a reboot" ready
  eventually "what is kept alive runs by itself" bash -c 'atoll ls | grep -E "^lasting +running"'
  [ "$(atoll run demo 'cat /workspace/file')" = kept ] || fail "a reboot loses files"
  [[ $(atoll doctor --leaks) == *" 0 leaks"* ]] || fail "a reboot leaves $(atoll doctor --leaks)"
  echo "ok: after a reboot everything is there"
  dpkg --purge atoll > /tmp/dpkg.log 2>&1 || fail "dpkg --purge: $(tail -n 3 /tmp/dpkg.log)"
  left=$(pgrep -x atoll; pgrep -x agent; pgrep -x atoll-agent; pgrep -x atoll-spawner
    find /sys/fs/cgroup -name '*atoll*'
    systemctl list-units --all --no-legend 'atoll*')
  [ -z "$left" ] || fail "a purge leaves $left"
  echo "ok: nothing is left of it"
  echo done
  sync
  systemctl poweroff
}

if [ -e /root/second ]; then second_boot; else first_boot; fi
