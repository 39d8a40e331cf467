// SPDX-License-Identifier: MIT
/*
 * y += a * x, by the device, through this process's own pointers.
 *
 *	$ devmodel cc saxpy.c -o saxpy
 *	$ devmodel run private -- sh -c 'cat >saxpy; chmod +x saxpy; ./saxpy' <saxpy
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include <libdevmodel.h>

#define COUNT 100000

int main(void)
{
	float *x = malloc(COUNT * sizeof(*x)), *y = malloc(COUNT * sizeof(*y));
	struct devmodel_stats stats;
	struct devmodel_info info;
	struct devmodel_wait end;
	int dev;

	if (!x || !y)
		err(1, "malloc");
	for (int i = 0; i < COUNT; i++) {
		x[i] = i;
		y[i] = 1;
	}
	dev = devmodel_open(NULL);
	if (dev < 0 || devmodel_info(dev, &info) ||
	    devmodel_run(dev, &end, "saxpy", y, x, COUNT, devmodel_float_bits(2.5)) ||
	    devmodel_stats(dev, &stats))
		errx(1, "%s", devmodel_error());
	for (int i = 0; i < COUNT; i++)
		if (y[i] != 2.5f * i + 1)
			errx(1, "y[%d] is %g", i, y[i]);
	printf("%s: %llu numbers, %llu device faults\n", devmodel_model_name(info.model),
	       end.result[0], stats.my_device_faults);
	return 0;
}
