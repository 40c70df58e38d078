# The benchmark's programs: the loads, linked with the front-end of tests/front, and bare loops.

BENCH_FLAGS := -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror
BENCH_NET := $(wildcard tests/bench/net*.c) tests/bench/card.c
BENCH_LOAD := $(filter-out tests/bench/bare.c $(BENCH_NET),$(wildcard tests/bench/*.c))
BENCH_FRONT := $(patsubst %,$(T)/obj/front/%.o,front memory messages driver split packed)
BENCH := $(T)/bench/load $(T)/bench/net $(T)/bench/bare

TEST_BINARIES += $(BENCH)

$(T)/bench/load: $(BENCH_LOAD)
$(T)/bench/net: $(BENCH_NET) tests/bench/figures.c
$(T)/bench/load $(T)/bench/net: $(BENCH_FRONT) $(wildcard tests/bench/*.h tests/front/*.h) \
		tests/bench/rules.mk
	@mkdir -p $(@D)
	$(HOST_CC) $(BENCH_FLAGS) $(filter %.c %.o,$^) -o $@

$(T)/bench/bare: tests/bench/bare.c tests/bench/figures.c tests/bench/figures.h \
		tests/bench/rules.mk
	@mkdir -p $(@D)
	$(HOST_CC) $(BENCH_FLAGS) $(filter %.c,$^) -o $@
