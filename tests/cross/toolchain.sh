#!/bin/sh
# Makes a musl cross toolchain of Debian's cross gcc and Debian's musl for that architecture.
#
#     PATH=$(sh tests/cross/toolchain.sh aarch64):$PATH      then aarch64-linux-musl-gcc, -strip ...
#     PATH=$(sh tests/cross/toolchain.sh arm):$PATH          then arm-linux-musleabihf-gcc ...
#
# It lives in $VUBOX_CACHE (~/.cache/vubox) and is made once. musl's package is fetched by package
# lists of our own: the machine's lists and architectures stay as they are, no root is needed.
set -eu

case ${1:-} in
aarch64) debian=arm64 gnu=aarch64-linux-gnu musl=aarch64-linux-musl ;;
arm) debian=armhf gnu=arm-linux-gnueabihf musl=arm-linux-musleabihf ;;
*)
	echo "usage: toolchain.sh aarch64|arm" >&2
	exit 2
	;;
esac
cache=${VUBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vubox}
root=$cache/$musl
if [ -e "$root/complete" ]; then
	echo "$root/bin"
	exit 0
fi

if ! command -v $gnu-gcc >/dev/null; then
	echo "toolchain.sh: $gnu-gcc is not installed (tests/install.sh cross)" >&2
	exit 1
fi
mkdir -p "$cache"
new=$(mktemp -d "$cache/$musl.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

fetch_musl()
{
	cd "$new"
	mkdir -p lists/partial cache/archives/partial
	cat >apt.conf <<-END
	APT::Architectures { "$debian"; };
	Dir::State::lists "$new/lists";
	Dir::Cache "$new/cache";
	Acquire::Languages "none";
	Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
	END
	export APT_CONFIG="$new/apt.conf"
	# An update that fails in part may still know musl.
	{ apt-get update || :; apt-get download "musl-dev:$debian"; } >log 2>&1 </dev/null || {
		tail -n 5 log >&2
		exit 1
	}
	dpkg-deb -x musl-dev_*.deb .
	rm -rf lists cache apt.conf log ./*.deb usr/bin usr/share
}

# Debian's musl-gcc.specs of that architecture, told where it lies now; and gcc behind it.
write_wrappers()
{
	sed -i "s|/usr/[a-z]*/$musl|$root&|g" "usr/lib/$musl/musl-gcc.specs"
	mkdir bin
	cat >"bin/$musl-gcc" <<-END
	#!/bin/sh
	exec $gnu-gcc "\$@" -specs "$root/usr/lib/$musl/musl-gcc.specs"
	END
	chmod +x "bin/$musl-gcc"
	ln -s "$musl-gcc" "bin/$musl-cc"
	for tool in ar as ld nm objcopy objdump ranlib readelf size strings strip; do
		ln -s "$(command -v $gnu-$tool)" "bin/$musl-$tool"
	done
}

(fetch_musl)
(cd "$new" && write_wrappers && touch complete)
chmod 755 "$new"
rm -rf "$root"
mv "$new" "$root"
echo "$root/bin"
