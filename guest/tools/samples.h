/* SPDX-License-Identifier: MIT */
/*
 * How things stood, time after time, while a command ran: at most SAMPLES_MOST
 * times. Once they are that many, every second one is dropped, and from then on
 * they are taken half as often.
 */
#ifndef DEVMODEL_SAMPLES_H
#define DEVMODEL_SAMPLES_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "../uapi/devmodel_stats.h"

#define SAMPLES_MOST	200

struct sample {
	double seconds;			/* since the command began */
	uint64_t resident;		/* bytes of the command's own memory, in HBM or not */
	struct devmodel_stats stats;
};

struct samples {
	double interval;		/* seconds */
	int count;
	struct sample taken[SAMPLES_MOST];
};

/* The resident memory of a process in bytes; 0 if it is gone. */
uint64_t samples_resident(pid_t pid);
void samples_add(struct samples *samples, double seconds, uint64_t resident,
		 const struct devmodel_stats *stats);
/* As a JSON object of columns; the counters that rose, as what they were above the first. */
void samples_print(FILE *out, const struct samples *samples);

#endif
