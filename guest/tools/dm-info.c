// SPDX-License-Identifier: MIT
/* What the device is. */
#include <stdio.h>
#include <string.h>

#include "../lib/libdevmodel.h"

int main(int argc, char **argv)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} features[] = {
		{ 1, "HBM" },
		{ 2, "HBM_IN_BAR" },
		{ 4, "HUGE_LEAVES" },
		{ 8, "EVENT_SUPPRESSION" },
	};
	struct devmodel_info info;
	size_t i;
	int dev;

	if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
		printf("usage: dm-info [DEVICE]\nWhat the device is (default %s).\n",
		       DEVMODEL_DEFAULT_PATH);
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	dev = devmodel_open(argc == 2 ? argv[1] : NULL);
	if (dev < 0 || devmodel_info(dev, &info)) {
		fprintf(stderr, "dm-info: %s\n", devmodel_error());
		return 1;
	}
	printf("model:       %s\n", devmodel_model_name(info.model));
	printf("HBM:         %llu MiB\n", (unsigned long long)info.hbm_bytes >> 20);
	printf("page size:   %llu bytes\n", 1ULL << info.page_shift);
	printf("ABI:         %u.%u, layout %016llx\n", info.abi_major, info.abi_minor,
	       (unsigned long long)info.layout_hash);
	printf("features:   ");
	for (i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (info.features & features[i].bit)
			printf(" %s", features[i].name);
	printf("\n");
	return 0;
}
