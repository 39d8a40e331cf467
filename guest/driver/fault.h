/* SPDX-License-Identifier: GPL-2.0 */
/* What one replayable fault asks for. */
#ifndef _DEVMODEL_FAULT_H
#define _DEVMODEL_FAULT_H

#include "devmodel_abi.h"

struct devmodel_mirror;

/**
 * struct devmodel_span - a range that one request of the test interface works on
 * @start: its beginning
 * @end: its end; 0 for none
 * @faults: device faults in it
 * @error: why the last fault failed
 */
struct devmodel_span {
	unsigned long start;
	unsigned long end;
	unsigned long faults;
	int error;
};

int devmodel_fault_serve(struct devmodel_mirror *mirror,
			 const struct devmodel_fault_record *fault);
void devmodel_span_begin(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end);
unsigned long devmodel_span_end(struct devmodel_mirror *mirror);

#endif /* _DEVMODEL_FAULT_H */
