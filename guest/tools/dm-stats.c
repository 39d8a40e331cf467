// SPDX-License-Identifier: MIT
/* The driver's and the device's counters. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../lib/libdevmodel.h"

#define FIELD(name) { #name, offsetof(struct devmodel_stats, name) }

/* my_...: of the mirror that asks, which is new here; left out. */
static const struct {
	const char *name;
	size_t offset;
} fields[] = {
	FIELD(device_faults), FIELD(device_fault_batches), FIELD(device_faults_failed),
	FIELD(cpu_faults), FIELD(pages_to_device), FIELD(pages_to_system),
	FIELD(pages_evicted), FIELD(pages_from_peer), FIELD(pages_to_peer), FIELD(pages_zeroed),
	FIELD(pages_failed), FIELD(bytes_to_device), FIELD(bytes_to_system),
	FIELD(remote_bytes_read), FIELD(remote_bytes_written), FIELD(notifications),
	FIELD(invalidates), FIELD(pages_dirtied), FIELD(tlb_hits), FIELD(tlb_misses),
	FIELD(hbm_bytes), FIELD(hbm_bytes_in_use), FIELD(mirrors), FIELD(page_table_pages),
	FIELD(programs), FIELD(lost), FIELD(generation), FIELD(restarts), FIELD(pages_aside),
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

int main(int argc, char **argv)
{
	struct devmodel_stats stats;
	const char *path = NULL;
	int i, dev, json = 0;
	size_t field;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = 1;
		} else if (argv[i][0] == '-' || path) {
			printf("usage: dm-stats [--json] [DEVICE]\n"
			       "The counters of the driver and the device since the driver took it, over\n"
			       "all processes; what is held now does not count this program itself.\n");
			return strcmp(argv[i], "--help") ? 2 : 0;
		} else {
			path = argv[i];
		}
	}
	dev = devmodel_open(path);
	if (dev < 0 || devmodel_stats(dev, &stats)) {
		fprintf(stderr, "dm-stats: %s\n", devmodel_error());
		return 1;
	}
	stats.mirrors--;
	stats.page_table_pages -= stats.my_page_table_pages;
	for (field = 0; field < FIELDS; field++) {
		const char *name = fields[field].name;
		unsigned long long value =
			*(__u64 *)((char *)&stats + fields[field].offset);

		if (json)
			printf("%s\"%s\": %llu", field ? ", " : "{", name, value);
		else
			printf("%-22s %llu\n", name, value);
	}
	if (json)
		printf("}\n");
	return 0;
}
