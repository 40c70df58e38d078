# vubox: `make` builds ./vubox, a static binary; `make help` lists everything else.

VERSION := 0.1.0
PREFIX ?= /usr/local
BUILD ?= build
CROSS ?=

# ---- the compiler: musl if there is one, else the host's libc, linked statically ----

ifneq ($(CROSS),)
CC := $(CROSS)gcc
STRIP := $(CROSS)strip
else
ifeq ($(origin CC),default)
MUSL := $(shell command -v musl-gcc)
CC := $(or $(MUSL),gcc)
endif
STRIP ?= strip
endif

IS_CLANG := $(findstring clang,$(shell $(CC) --version 2>/dev/null))
IS_MUSL := $(shell printf '\043include <features.h>\nint x = __GLIBC__;' | \
	$(CC) -x c -fsyntax-only - 2>/dev/null || echo yes)

# ---- flags ----

# Every limit of include/config.h can be set here: make CONFIG_REQUESTS_MAX=4096
CONFIG := $(foreach v,$(sort $(filter CONFIG_%,$(.VARIABLES))),-D$(v)=$($(v)))
# make DEVICES="blk" leaves the others out.
# A device is src/dev/NAME.c and src/dev/NAME_*.c.
ALL_DEVICES := $(patsubst src/dev/%.c,%,$(filter-out src/dev/table.c,$(foreach f, \
	$(wildcard src/dev/*.c),$(if $(findstring _,$(notdir $f)),,$f))))
DEVICES ?= $(ALL_DEVICES)
LEFT_OUT := $(filter-out $(DEVICES),$(ALL_DEVICES))
WITHOUT := $(foreach d,$(LEFT_OUT),-DVUBOX_NO_$(shell echo $(d) | tr a-z A-Z))

COMMA := ,
WARN := -Wall -Wextra -Wconversion -Wno-sign-conversion -Wvla -Wstrict-prototypes \
	-Wmissing-prototypes -Wshadow -Wpointer-arith
CPPFLAGS_ALL := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DCONFIG_VERSION='"$(VERSION)"' \
	$(CONFIG) $(WITHOUT) -Iinclude -Iport -I$(BUILD) $(CPPFLAGS)
CFLAGS_ALL := -g $(WARN) $(if $(IS_CLANG),,-flto) -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables -fno-unwind-tables -fno-plt $(CFLAGS)
LDFLAGS_ALL := -static $(if $(IS_CLANG),,-flto -flto-partition=one -O2) -Wl,--gc-sections \
	-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,common-page-size=64 -Wl,-z,norelro \
	-Wl,-z,noexecstack $(if $(IS_MUSL),-Wl$(COMMA)-T$(COMMA)port/discard.ld) $(LDFLAGS)

# What runs for every request is built for size and speed, all else for size alone.
HOT := src/base/span.c src/core/req.c src/core/turns.c src/core/mem.c src/core/window.c \
	src/core/vring.c src/core/vring_split.c src/core/vring_packed.c src/core/loop.c \
	src/dev/blk.c port/io.c port/io_uring.c port/io_mmap.c port/io_cached.c \
	src/core/inflight_split.c src/core/inflight_packed.c
SMALL := $(if $(shell $(CC) -Oz -E -x c /dev/null 2>&1 >/dev/null),-Os,-Oz)

NOT_BUILT := $(LEFT_OUT:%=src/dev/%.c) $(foreach d,$(LEFT_OUT),$(wildcard src/dev/$(d)_*.c))
SOURCES := $(sort $(filter-out $(NOT_BUILT),$(wildcard src/*.c src/*/*.c port/*.c)))
HEADERS := $(wildcard include/*.h include/spec/*.h port/*.h)
# What may be called in the cage, for this compiler's architecture and libc.
CALLS := port/calls.sh $(wildcard port/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

# ---- the binary ----

# Another build directory leaves ./vubox as it is.
all: $(if $(filter build,$(BUILD)),vubox,$(BUILD)/vubox)
	$(if $(IS_MUSL),,@echo "note: no musl compiler: ./vubox is static with the host's libc," \
		"and larger (apt-get install musl-tools)")

vubox: $(BUILD)/vubox
	cp -f $< $@

$(BUILD)/vubox: $(BUILD)/vubox.debug
	rm -f $@ && $(STRIP) -o $@ $<

$(BUILD)/vubox.debug: $(OBJECTS)
	$(CC) $(LDFLAGS_ALL) $(OBJECTS) -o $@

# Jumps to a round address are longer code and, as measured, no faster.
$(HOT:%.c=$(BUILD)/%.o): OPT := -Os $(if $(IS_CLANG),,-fno-align-jumps -fno-tree-slp-vectorize)
# What gcc believes to make code smaller, and does not here.
OPT := $(SMALL) $(if $(IS_CLANG),,-fno-inline-functions-called-once \
	-fno-tree-tail-merge -fno-move-loop-invariants -fno-tree-dominator-opts)
$(BUILD)/%.o: %.c $(HEADERS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(OPT) $(CFLAGS_ALL) -c $< -o $@

$(BUILD)/port/cage.o: $(BUILD)/calls.h
$(BUILD)/calls.h: $(CALLS) $(BUILD)/flags
	@mkdir -p $(@D)
	sh port/calls.sh '$(CC)' $(filter %.c,$^) >$@.new && mv $@.new $@

# Changed flags rebuild everything.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL)' | cmp -s - $@ || \
		echo '$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL)' > $@

# ---- what a user does with it ----

install: vubox
	install -D -m 755 vubox $(DESTDIR)$(PREFIX)/bin/vubox
	install -D -m 644 share/man/vubox.8 $(DESTDIR)$(PREFIX)/share/man/man8/vubox.8
	install -d $(DESTDIR)$(PREFIX)/share/qemu/vhost-user
	set -e; for d in $(filter-out $(LEFT_OUT),$(ALL_DEVICES)); do \
		ln -sf vubox $(DESTDIR)$(PREFIX)/bin/vhost-user-$$d; \
		sed "s|@PREFIX@|$(PREFIX)|; s|@DEVICE@|$$d|; s|: \"blk\"|: \"block\"|" \
			share/qemu/vhost-user/50-vubox.json.in \
			>$(DESTDIR)$(PREFIX)/share/qemu/vhost-user/50-vubox-$$d.json; \
	done
	install -D -m 755 share/init.d/vubox $(DESTDIR)$(PREFIX)/share/vubox/init.d/vubox
	install -D -m 644 share/vubox.conf $(DESTDIR)$(PREFIX)/share/vubox/vubox.conf

size: vubox
	@size $(BUILD)/vubox.debug
	@stat -c '%n: %s bytes, stripped' vubox

format:
	clang-format -i $(SOURCES) $(HEADERS)

clean:
	rm -rf build vubox

help:
	@echo "make              build ./vubox (CROSS=prefix-, DEVICES=\"blk\" leaves the rest out)"
	@echo "make demo         boot a real guest with all devices and use each"
	@echo "make test         every test; installs what it needs on Debian"
	@echo "make check        the quick tests: unit, shape, what must not compile"
	@echo "make lint         static analysis: gcc -fanalyzer, clang-tidy, cppcheck"
	@echo "make coverage     lines and branches that the unit tests and the simulator reach"
	@echo "make bench        measure it against qemu-storage-daemon in one interleaved run"
	@echo "make fuzz         fuzz it (SECONDS=60 for each target)"
	@echo "make soak         random guests, kills and shortages for MINUTES=1 (SEED=n;"
	@echo "                  soak-sanitized: with sanitizers)"
	@echo "make mutants      plant bugs and see that the tests catch them"
	@echo "make proofs       prove the core's memory safety with CBMC, in a chroot (needs root)"
	@echo "make install      DESTDIR= PREFIX=$(PREFIX)"
	@echo "make size | format | clean | help"

include tests/tests.mk

FORCE:
.PHONY: all demo install size format clean help test check bench fuzz mutants soak FORCE
