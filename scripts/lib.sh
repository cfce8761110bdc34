# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# Shared by the scripts of this directory; source it. Packages, builds, messages, pods.
# shellcheck shell=bash

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=$REPO/build/release/bin

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

require_root() {
  [[ $EUID -eq 0 ]] || die "network namespaces need root: run it with sudo"
}

# The packages in the given groups (scripts/packages).
packages() {
  local group name wanted
  while read -r group name _; do
    for wanted in "$@"; do
      if [[ $group == "$wanted" ]]; then echo "$name"; fi
    done
  done <"$REPO/scripts/packages" | sort -u
}

# without_services COMMAND...: runs it without starting the services that it installs: tests need nginx,
# not a server on port 80. Debian's packages ask this program, which not all machines have.
without_services() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  "$@"
)

# Installs missing packages of these groups, and names them; silent if there are none.
install_packages() {
  local name missing=()
  for name in $(packages "$@"); do
    # "other|name": the other package is also sufficient.
    # shellcheck disable=SC2016  # a format of dpkg-query, not of the shell
    [[ " $(IFS='|' && dpkg-query -W -f '${db:Status-Status} ' $name 2>/dev/null)" == *" installed "* ]] ||
      missing+=("${name##*|}")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  [[ $EUID -eq 0 ]] || die "these packages are missing: ${missing[*]}
run as root: apt-get install --no-install-recommends ${missing[*]}"
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update -qq && without_services env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    die "the packages could not be installed"
  fi
  rm -f "$log"
}

# unpack_package FOLDER PACKAGE...: unpacks them below build/packages, unless it is there.
unpack_package() {
  local folder=$REPO/build/packages/$1
  if [[ -d $folder ]]; then return 0; fi
  say "unpacking $1"
  rm -rf "$folder.new"
  mkdir -p "$folder.new"
  (cd "$folder.new" && apt-get download -qq "${@:2}" &&
    for file in ./*.deb; do dpkg -x "$file" . && rm "$file"; done) \
    >"$folder.log" 2>&1 || die "the package $1 could not be unpacked: $(cat "$folder.log")"
  rm "$folder.log"
  mv "$folder.new" "$folder"
}

# unpack_packages GROUP: unpacks each package of the group below build/packages, unless it is there. Nothing
# is installed, so that no service starts.
unpack_packages() {
  local name updated=
  for name in $(packages "$1"); do
    if [[ ! -d $REPO/build/packages/$name && -z $updated ]]; then
      apt-get update -qq >&2
      updated=1
    fi
    unpack_package "$name" "$name"
  done
}

# for_arm64 COMMAND...: runs a program of apt on Debian's arm64 packages, as on a machine that has none.
for_arm64() {
  local state=$REPO/build/apt-arm64
  mkdir -p "$state"/{lists,archives}/partial
  touch "$state/status"
  cat >"$state/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state";
END
  APT_CONFIG=$state/apt.conf "$@"
}

# unpack_kernels: the same for the kernels that the packages of group kernel depend on, with the list of
# what their modules depend on, which an installation would make.
unpack_kernels() {
  local name folder kernel of
  for name in $(packages kernel); do
    folder=$REPO/build/packages/$name
    of=
    if [[ $name == *-arm64 ]]; then of=for_arm64; fi
    if [[ ! -d $folder ]]; then
      $of apt-get update -qq >&2
      kernel=$($of apt-cache show --no-all-versions "$name" | sed -n 's/^Depends: \([^ ,]*\).*/\1/p')
      [[ -n $kernel ]] || die "there is no kernel in $name"
      $of unpack_package "$name" "$kernel"
    fi
    depmod -b "$folder" "$(ls "$folder/lib/modules")"
  done
}

# make_sysroot: see scripts/sysroot.
make_sysroot() {
  local sysroot=$REPO/build/sysroot-arm64 wanted known name file
  install_packages build cross
  # Of the packages for building those that are libraries, and what is started in a guest.
  wanted=$({ packages build | grep -e '-dev$'; packages run guest; } | sort -u)
  if [[ -r $sysroot/packages && $(<"$sysroot/packages") == "$wanted" ]]; then return 0; fi
  say "unpacking arm64 packages into $sysroot"
  rm -rf "$sysroot" "$sysroot.new"
  mkdir -p "$sysroot.new"/usr/{bin,sbin,lib}
  # One tree, as on an installed system.
  for file in bin sbin lib; do ln -s "usr/$file" "$sysroot.new/$file"; done
  # shellcheck disable=SC2086  # one word each
  { for_arm64 apt-get update -qq && for_arm64 apt-get install -qq -y --download-only \
    --no-install-recommends $wanted; } >"$sysroot.log" 2>&1 ||
    die "the arm64 packages could not be downloaded: $(cat "$sysroot.log")"
  # dpkg can be asked there, too.
  known=$sysroot.new/var/lib/dpkg
  mkdir -p "$known/info"
  printf '%s\n' "$(dpkg --print-architecture)" arm64 >"$known/arch"
  echo 1 >"$known/info/format"
  for file in "$REPO"/build/apt-arm64/archives/*.deb; do
    { echo "Status: install ok installed"; dpkg-deb -f "$file"; echo; } >>"$known/status"
    name=$(dpkg-deb -W --showformat='${Package}:${Multi-Arch}' "$file")
    name=${name/%:same/:arm64}
    dpkg-deb --fsys-tarfile "$file" | tar -x -v --keep-directory-symlink -C "$sysroot.new" |
      sed 's,^\.,,; s,/$,,; s,^$,/.,' >"$known/info/${name%%:[!a]*}.list"
  done
  rm -r "$sysroot.log" "$REPO/build/apt-arm64/archives"
  echo "$wanted" >"$sysroot.new/packages"
  mv "$sysroot.new" "$sysroot"
}

# libraries SYSTEM PROGRAM...: the libraries that programs load, and their loader, by their names. SYSTEM is
# empty, or a directory like / with those of arm64.
libraries() {
  local system=$1 program
  for program in "${@:2}"; do
    if [[ -z $system ]]; then ldd "$program"; else
      qemu-aarch64-static -L "$system" "$system/lib/ld-linux-aarch64.so.1" --list "$program"
    fi 2>/dev/null
  done | sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p; s/^\t\(\/[^ ]*\) (.*/\1/p' | sed "s,^$system/,/," | sort -u
}

# build PRESET [TARGET...]: configures and builds; shows the compiler's output only when that fails.
build() {
  local preset=$1 target args=()
  shift
  for target in "$@"; do args+=(--target "$target"); done
  say "building $preset${*:+ ($*)}"
  local log
  log=$(mktemp)
  # CMake looks for presets in the working directory.
  if ! (cd "$REPO" && cmake --preset "$preset" && cmake --build --preset "$preset" "${args[@]}") \
    >"$log" 2>&1; then
    tail -n 100 "$log" >&2
    rm -f "$log"
    die "the $preset build failed"
  fi
  rm -f "$log"
}

# The packages and programs that scripts/pod and scripts/demo need.
prepare_playground() {
  require_root
  install_packages build demo
  build release sluice-init sluice-proxy sluice-netns
}

netns() { "$BIN/sluice-netns" "$@"; }

netns_exists() { netns list | grep -qxF -- "$1"; }

# wait_until SECONDS COMMAND...: repeats the command until it succeeds; fails after SECONDS.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# add_node NODE: makes a namespace that routes between pods.
add_node() {
  netns create "$1"
  netns router "$1"
}

# add_pod NODE POD NUMBER: makes a namespace with eth0, 10.244.NUMBER.2 and fd00:244:NUMBER::2, whose
# default routes go through the node. NUMBER is from 0 to 254.
add_pod() {
  local node=$1 pod=$2 number=$3
  netns create "$pod"
  netns cable "$pod:eth0" "10.244.$number.2/24,fd00:244:$number::2/64" \
    "$node:pod$number" "10.244.$number.1/24,fd00:244:$number::1/64"
  netns route "$pod" 0.0.0.0/0 "10.244.$number.1"
  netns route "$pod" ::/0 "fd00:244:$number::1"
}

# The pids of the processes in a network namespace, one per line.
pids_in() {
  local inode process
  inode=$(stat -L -c %i "/run/netns/$1") || return 0
  for process in /proc/[0-9]*; do
    if [[ $(stat -L -c %i "$process/ns/net" 2>/dev/null) == "$inode" ]]; then
      echo "${process#/proc/}"
    fi
  done
}
