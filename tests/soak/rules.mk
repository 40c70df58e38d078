# The soak: long, so only by hand. make soak MINUTES=30 [SEED=n]

SOAK := $(BUILD)/tests/soak/soak
MINUTES ?= 1

$(SOAK): $(wildcard tests/soak/*.c) $(FRONT_OBJECTS) $(wildcard tests/soak/*.h tests/front/*.h) \
		tests/soak/rules.mk
	@mkdir -p $(@D)
	$(HOST_CC) $(PROTO_FLAGS) $(filter %.c %.o,$^) -o $@

soak: vubox $(SOAK)
	$(SOAK) $(MINUTES) $(SEED)

# The same with AddressSanitizer and UBSan.
soak-sanitized: $(SOAK) $(T)/soak/vubox
	ASAN_OPTIONS=handle_sigbus=0:detect_leaks=0 VUBOX=$(T)/soak/vubox VUBOX_SANITIZED=1 \
		$(SOAK) $(MINUTES) $(SEED)

$(T)/soak/vubox: $(SOURCES) $(HEADERS) tests/soak/rules.mk
	@mkdir -p $(@D)
	sh port/calls.sh clang port/*.c > $(@D)/calls.h
	clang -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I$(@D) -Iinclude -Iport -O1 -g \
		-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
		$(SOURCES) -o $@

.PHONY: soak soak-sanitized
