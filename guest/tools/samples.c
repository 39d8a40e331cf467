// SPDX-License-Identifier: MIT
#include "samples.h"

#include <stdbool.h>
#include <unistd.h>

uint64_t samples_resident(pid_t pid)
{
	unsigned long long pages = 0;
	char path[40];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

static void thin(struct samples *samples)
{
	int i;

	samples->count = (samples->count + 1) / 2;
	for (i = 1; i < samples->count; i++)
		samples->taken[i] = samples->taken[2 * i];
	samples->interval *= 2;
}

void samples_add(struct samples *samples, double seconds, uint64_t resident,
		 const struct devmodel_stats *stats)
{
	if (samples->count == SAMPLES_MOST)
		thin(samples);
	samples->taken[samples->count++] = (struct sample) {
		.seconds = seconds,
		.resident = resident,
		.stats = *stats,
	};
}

/* Counter @number of a sample. Less than at first: a device that came back began again. */
static unsigned long long risen(const struct samples *samples, int at, int number)
{
	unsigned long long base = devmodel_stat_value(&samples->taken[0].stats, number);
	unsigned long long value = devmodel_stat_value(&samples->taken[at].stats, number);

	return value >= base ? value - base : value;
}

void samples_print(FILE *out, const struct samples *samples)
{
	const struct sample *taken = samples->taken;
	int number, i;

	fprintf(out, "{\"seconds\": [");
	for (i = 0; i < samples->count; i++)
		fprintf(out, "%s%.4f", i ? ", " : "", taken[i].seconds);
	fprintf(out, "], \"resident_bytes\": [");
	for (i = 0; i < samples->count; i++)
		fprintf(out, "%s%llu", i ? ", " : "", (unsigned long long)taken[i].resident);
	fprintf(out, "], \"hbm_bytes_in_use\": [");
	for (i = 0; i < samples->count; i++)
		fprintf(out, "%s%llu", i ? ", " : "",
			(unsigned long long)taken[i].stats.hbm_bytes_in_use);
	fprintf(out, "]");
	for (number = 0; number < DEVMODEL_STATS_RISING; number++) {
		bool rose = false;

		for (i = 0; i < samples->count; i++)
			rose |= risen(samples, i, number);
		if (!rose)
			continue;
		fprintf(out, ", \"%s\": [", devmodel_stat[number].name);
		for (i = 0; i < samples->count; i++)
			fprintf(out, "%s%llu", i ? ", " : "", risen(samples, i, number));
		fprintf(out, "]");
	}
	fprintf(out, "}");
}
