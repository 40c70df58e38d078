# The protocol suites: every tests/proto/*.c is one, linked with the front-end of tests/front.

PROTO_SUITES := $(patsubst tests/proto/%.c,$(BUILD)/tests/proto/%,$(wildcard tests/proto/*.c))
PROTO_FLAGS := -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror
FRONT_OBJECTS := $(patsubst tests/%.c,$(BUILD)/tests/obj/%.o,$(wildcard tests/front/*.c))

TEST_BINARIES += $(PROTO_SUITES)

$(BUILD)/tests/proto/%: tests/proto/%.c $(FRONT_OBJECTS) $(wildcard tests/front/*.h) \
		tests/proto/rules.mk
	@mkdir -p $(@D)
	$(HOST_CC) $(PROTO_FLAGS) $< $(FRONT_OBJECTS) -o $@

$(BUILD)/tests/obj/front/%.o: tests/front/%.c $(wildcard tests/front/*.h) tests/proto/rules.mk
	@mkdir -p $(@D)
	$(HOST_CC) $(PROTO_FLAGS) -c $< -o $@

proto-suites: $(PROTO_SUITES)

# The suites against ./vubox, or VUBOX=… of the environment.
proto: vubox $(PROTO_SUITES)
	sh tests/run.sh $(PROTO_SUITES)

.PHONY: proto proto-suites
