# shellcheck shell=bash
# Sourced by the scripts of this folder: where things are, and Debian roots to work in. Everything made here lies below $out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$here")
out=${SHESHI_OUT:-$repo/out/appliance}
mkdir -p "$out"
export LC_ALL=C.UTF-8 TZ=UTC

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

as_root() { [ "$(id -u)" = 0 ] || die "needs root: it makes Debian roots and namespaces"; }

# The time that every file made here bears: the last commit of what is built.
epoch() { git -C "$repo" log -1 --format=%ct; }

# The digest of the tree that a result is about; says so when the folder is not as committed.
tree() {
	local dirty=
	[ -z "$(git -C "$repo" status --porcelain -- "$here")" ] || dirty=" with changes"
	echo "$(git -C "$repo" rev-parse --short 'HEAD^{tree}')$dirty"
}

debian() { # SUITE: the sources
	echo "deb http://deb.debian.org/debian $1 main${2:+ $2}"
	echo "deb http://deb.debian.org/debian-security $1-security main${2:+ $2}"
}

have_mmdebstrap() {
	command -v mmdebstrap >/dev/null && return
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
}

# A trixie root with what builds and tests images, so that the machine itself needs mmdebstrap only.
tools_root() {
	[ -e "$out/tools-root/.complete" ] && return
	have_mmdebstrap
	rm -rf --one-file-system "$out/tools-root"
	local packages=systemd,systemd-repart,systemd-ukify,systemd-boot-efi,erofs-utils,cryptsetup-bin,mtools,dosfstools,mmdebstrap
	packages+=,lintian,dpkg-dev,zstd,jq,ca-certificates,binutils,qemu-system-x86,qemu-utils,ovmf,kmod,man-db,xz-utils,iproute2,cpio,hostapd
	mapfile -t sources < <(debian trixie)
	mmdebstrap --quiet --variant=apt --include="$packages" trixie "$out/tools-root" "${sources[@]}"
	touch "$out/tools-root/.complete"
}

# Runs a command with a folder as its root, in namespaces of its own: nothing it mounts or starts outlives it. A real root
# by pivot_root, since user namespaces are refused within a chroot. $out is there at /out and this folder at /appliance-image.
inside() { # ROOT COMMAND [ARGUMENT…]
	unshare --mount --pid --uts --ipc ${INSIDE_NET:+--net} --fork --kill-child bash -euc '
		root=$1 out=$2 here=$3; shift 3
		mount --make-rprivate /
		mount --bind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t sysfs sysfs "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"
		mount -t tmpfs tmpfs "$root/run"
		mount -t tmpfs tmpfs "$root/tmp"
		mkdir -p "$root/out" "$root/appliance-image" "$root/old"
		mount --bind "$out" "$root/out"
		mount --bind -o ro "$here" "$root/appliance-image"
		[ -L "$root/etc/resolv.conf" ] || cp /etc/resolv.conf "$root/etc/resolv.conf"
		cd "$root"; pivot_root . old; cd /
		umount -l /old; rmdir /old
		export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
		exec "$@"' inside "$1" "$out" "$here" "${@:2}"
}

# Replaces the record of a test by its last result.
record() { # NAME LINE…
	mkdir -p "$here/record"
	{ printf '%s\n' "$(date -u +%Y-%m-%d), tree $(tree)"; printf '%s\n' "${@:2}"; } >"$here/record/$1"
}
