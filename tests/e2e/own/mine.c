/* A program of somebody's own: it uses the device, and knows nothing of advice. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/libdevmodel.h"

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 0) : 1024, i;
	const char *mode = argc > 2 ? argv[2] : "";
	int dev = devmodel_open(NULL);
	struct devmodel_wait end;
	struct devmodel_info info;
	uint64_t *words, sum;

	if (dev < 0 || devmodel_info(dev, &info))
		errx(1, "%s", devmodel_error());
	words = malloc(count * sizeof(*words));
	for (i = 0; i < count; i++)
		words[i] = i;
	if (devmodel_run(dev, &end, "triple", words, count))
		errx(2, "%s", devmodel_error());
	for (sum = 0, i = 0; i < count; i++)
		sum += words[i];
	printf("%llu\n", (unsigned long long)sum);
	if (!strcmp(mode, "model"))
		printf("%s\n", devmodel_model_name(info.model));
	if (!strcmp(mode, "crash") && info.model == DEVMODEL_MODEL_PRIVATE)
		abort();
	return sum == 3 * (count * (count - 1) / 2) ? 0 : 3;
}
