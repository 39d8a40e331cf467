// SPDX-License-Identifier: MIT
/* See kernel.h. */
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

void load_module(const char *words)
{
	char command[80];

	snprintf(command, sizeof(command), "modprobe -q %s 2>/dev/null", words);
	if (system(command))
		return;
}
