// SPDX-License-Identifier: MIT
/* One pattern, chosen by name; one JSON object on stdout. */
#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "patterns.h"

static const struct pattern *const patterns[] = {
	&first_touch_cpu, &first_touch_device, &ping_pong, &read_mostly, &stream, &stencil, &graph,
	&key_value, &oversubscribe, &hog,
};

#define COUNT	(sizeof(patterns) / sizeof(patterns[0]))

struct devmodel_wait end;

uint32_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

uint64_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return *state >> 33;
}

uint64_t sum_of(const uint64_t *words, size_t count)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

static int usage(int code)
{
	size_t i;

	printf("usage: patterns [--mib N] [--in-place] NAME\n"
	       "Let CPU and device share memory in one of these ways, check what comes of it, and\n"
	       "print one JSON object; exit code 0 only if everything is right.\n"
	       "  --mib N     work on about N MiB\n"
	       "  --in-place  device faults leave pages where they are (default: they move to HBM)\n\n");
	for (i = 0; i < COUNT; i++)
		printf("  %-19s %s\n", patterns[i]->name, patterns[i]->what);
	return code;
}

static const struct pattern *find(const char *name)
{
	size_t i;

	for (i = 0; i < COUNT; i++)
		if (!strcmp(name, patterns[i]->name))
			return patterns[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "mib", required_argument, NULL, 'm' },
		{ "in-place", no_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	enum devmodel_policy policy = DEVMODEL_POLICY_ON_TOUCH;
	const struct pattern *pattern;
	size_t mib = 0;
	int option;
	char *rest;

	while ((option = getopt_long(argc, argv, "m:ih", options, NULL)) != -1) {
		switch (option) {
		case 'm':
			mib = strtoull(optarg, &rest, 0);
			if (*rest || !mib || mib >> 20) {
				fprintf(stderr, "patterns: '%s' is not a number of MiB\n", optarg);
				return 2;
			}
			break;
		case 'i':
			policy = DEVMODEL_POLICY_IN_PLACE;
			break;
		default:
			return usage(option == 'h' ? 0 : 2);
		}
	}
	if (optind != argc - 1)
		return usage(2);
	pattern = find(argv[optind]);
	if (!pattern) {
		fprintf(stderr, "patterns: no pattern '%s'; --help lists them\n", argv[optind]);
		return 2;
	}
	frame_open(pattern->name);
	pattern->setup(mib ? mib << 20 : pattern->bytes);
	frame_advise(policy);
	frame_begin();
	pattern->work();
	frame_end();
	/* All at once: page by page it would take longer than the work. */
	frame_bring_back();
	pattern->verify();
	frame_print();
	printf("}\n");
	return frame_exit();
}
