// SPDX-License-Identifier: MIT
/* The driver's and the device's counters. */
#include <stdio.h>
#include <string.h>

#include "../lib/libdevmodel.h"
#include "../uapi/devmodel_stats.h"

int main(int argc, char **argv)
{
	struct devmodel_stats stats;
	const char *path = NULL;
	int i, dev, json = 0;

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
	for (i = 0; i < DEVMODEL_STATS_SHOWN; i++) {
		unsigned long long value = devmodel_stat_value(&stats, i);

		if (json)
			printf("%s\"%s\": %llu", i ? ", " : "{", devmodel_stat[i].name, value);
		else
			printf("%-24s %llu %s\n", devmodel_stat[i].name, value,
			       devmodel_stat[i].unit);
	}
	if (json)
		printf("}\n");
	return 0;
}
