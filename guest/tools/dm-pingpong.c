// SPDX-License-Identifier: MIT
/*
 * The shortest way to every promise that the coherence oracle checks: the device
 * reads and writes a buffer that is moved between its uses.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"

static int usage(int code)
{
	printf("usage: dm-pingpong [--pages N] [--rounds N]\n"
	       "The device sums up a buffer, which is then migrated to it, summed up again,\n"
	       "filled, migrated back, summed up. Says how many sums were wrong, and ends well\n"
	       "however many: it is for `devmodel check` to say why.\n");
	return code;
}

static int number_of(const char *text)
{
	char *rest;
	long value = strtol(text, &rest, 0);

	if (*rest || rest == text || value < 1 || value > 65536)
		exit(usage(2));
	return value;
}

static int dev;
static uint64_t *buffer;
static size_t bytes;
static unsigned int wrong;

static void run(int failed)
{
	if (!failed)
		return;
	fprintf(stderr, "dm-pingpong: %s\n", devmodel_error());
	exit(1);
}

static void sum(uint64_t word)
{
	struct devmodel_wait end;

	run(devmodel_run(dev, &end, "sum", buffer, bytes / 8));
	wrong += end.result[0] != word * (bytes / 8);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "pages", required_argument, NULL, 'p' },
		{ "rounds", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	int option, pages = 16, rounds = 2, round;
	uint64_t word = 1;
	size_t i;

	while ((option = getopt_long(argc, argv, "hp:r:", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			pages = number_of(optarg);
			break;
		case 'r':
			rounds = number_of(optarg);
			break;
		default:
			return usage(option == 'h' ? 0 : 2);
		}
	}
	dev = devmodel_open(NULL);
	run(dev < 0);
	bytes = (size_t)pages * sysconf(_SC_PAGESIZE);
	buffer = aligned_alloc(sysconf(_SC_PAGESIZE), bytes);
	for (i = 0; i < bytes / 8; i++)
		buffer[i] = word;
	for (round = 0; round < rounds; round++) {
		struct devmodel_wait end;

		sum(word);
		run(devmodel_migrate(dev, buffer, bytes, DEVMODEL_TARGET_DEVICE, NULL, NULL));
		sum(word++);
		run(devmodel_run(dev, &end, "fill", buffer, bytes / 8, word));
		run(devmodel_migrate(dev, buffer, bytes, DEVMODEL_TARGET_SYSTEM, NULL, NULL));
		sum(word);
	}
	printf("dm-pingpong: %u of %d sums were wrong\n", wrong, 3 * rounds);
	return 0;
}
