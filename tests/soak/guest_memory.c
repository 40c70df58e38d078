/* A guest's memory: a base region, and others that come and go while rings run. */
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096 };

static uint64_t hot_at(unsigned i)
{
	return guest.base + BASE_BYTES + (uint64_t)i * HOT_BYTES;
}

static bool open_region(uint64_t at, uint64_t bytes)
{
	uint64_t offset = soak_one_in(2) ? 0 : soak_below(8) * PAGE;

	return front_memory_add(&guest.memory, at, guest.user + (at - guest.base), bytes, offset) ==
	       0;
}

bool memory_open(void)
{
	guest.base = (uint64_t)(1 + soak_below(1000)) << 30;
	guest.user = 0x7f0000000000ull + ((uint64_t)soak_below(1 << 20) << 12);
	if (!open_region(guest.base, BASE_BYTES))
		soak_fail("%s: no memory for a guest", guest.seat->name);
	for (unsigned i = 0; i < HOT_MAX; i++) {
		guest.plugged[i] = soak_one_in(2);
		if (guest.plugged[i] && !open_region(hot_at(i), HOT_BYTES))
			soak_fail("%s: no memory for a guest", guest.seat->name);
	}
	return true;
}

void memory_close(void)
{
	front_memory_clear(&guest.memory);
	for (unsigned i = 0; i < HOT_MAX; i++)
		guest.plugged[i] = false;
}

static const struct front_region *region_at(uint64_t at)
{
	for (unsigned i = 0; i < guest.memory.driver.count; i++)
		if (guest.memory.regions[i].place.guest == at)
			return &guest.memory.regions[i];
	return NULL;
}

static bool by_slots(void)
{
	return (guest.front.protocol & VU_P(CONFIGURE_MEM_SLOTS)) != 0;
}

bool memory_share(void)
{
	bool good = true;

	if (!by_slots())
		return guest_did(front_share(&guest.front, &guest.memory), "SET_MEM_TABLE");
	for (unsigned i = 0; i < guest.memory.driver.count && good; i++) {
		const struct front_region *r = &guest.memory.regions[i];

		good = guest_did(front_add_mem_reg(&guest.front, &r->place, r->fd), "ADD_MEM_REG");
	}
	return good;
}

void memory_plug(void)
{
	unsigned i = soak_below(HOT_MAX);
	const struct front_region *r;

	if (guest.plugged[i] || !open_region(hot_at(i), HOT_BYTES))
		return;
	r = region_at(hot_at(i));
	if (guest_did(by_slots() ? front_add_mem_reg(&guest.front, &r->place, r->fd)
				 : front_share(&guest.front, &guest.memory),
		    "a region more"))
		atomic_fetch_add(&soak->plugged, 1);
	guest.plugged[i] = true;
}

/* The regions of a hot data place, which begins half of it before its number's place. */
static void regions_of(unsigned hot, int *first, int *last)
{
	int at = (int)(hot - 1) * HOT_DATA_BYTES - HOT_DATA_BYTES / 2;

	*first = at < 0 ? -1 : at / HOT_BYTES;
	*last = (at + HOT_DATA_BYTES - 1) / HOT_BYTES;
}

static bool is_used(unsigned i)
{
	for (unsigned hot = 1; hot <= HOT_DATA_MAX; hot++) {
		int first, last;

		regions_of(hot, &first, &last);
		if (guest.hot_taken[hot - 1] && ((int)i == first || (int)i == last))
			return true;
	}
	return false;
}

void memory_unplug(void)
{
	unsigned i = soak_below(HOT_MAX);
	const struct front_region *r = region_at(hot_at(i));
	struct front_place place;

	if (!guest.plugged[i] || is_used(i))
		return;
	place = r->place;
	guest.plugged[i] = false;
	if (by_slots()) {
		int fd = soak_one_in(2) ? r->fd : -1; /* QEMU sends it, others do not */

		if (guest_did(front_rem_mem_reg(&guest.front, &place, fd), "REM_MEM_REG"))
			atomic_fetch_add(&soak->plugged, 1);
		front_memory_remove(&guest.memory, place.guest);
	} else {
		front_memory_remove(&guest.memory, place.guest);
		(void)guest_did(front_share(&guest.front, &guest.memory), "SET_MEM_TABLE");
	}
}

unsigned memory_take_hot(void)
{
	unsigned hot = 1 + soak_below(HOT_DATA_MAX);
	int first, last;

	regions_of(hot, &first, &last);
	if (guest.hot_taken[hot - 1] || (first >= 0 && !guest.plugged[first]) ||
		!guest.plugged[last])
		return 0;
	guest.hot_taken[hot - 1] = true;
	return hot;
}

uint64_t memory_hot(unsigned hot)
{
	return hot_at(0) + (uint64_t)(hot - 1) * HOT_DATA_BYTES - HOT_DATA_BYTES / 2;
}
