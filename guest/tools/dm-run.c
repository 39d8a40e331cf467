// SPDX-License-Identifier: MIT
/* Run a device program by name, with numbers and fresh memory as arguments. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/libdevmodel.h"

static int usage(int code)
{
	printf("usage: dm-run PROGRAM [ARGUMENT...]\n"
	       "Run a device program and print its two results. An argument is a number\n"
	       "(1, 0x10), or @SIZE: the address of SIZE bytes of fresh memory, whose first\n"
	       "words are printed afterwards. Examples:\n"
	       "  dm-run fill @4096 512 42\n"
	       "  dm-run sum @1048576 131072\n"
	       "Exit code: 0 ended well, 1 it did not, 2 wrong usage.\n");
	return code;
}

int main(int argc, char **argv)
{
	uint64_t args[DEVMODEL_MAX_ARGS], *memory[DEVMODEL_MAX_ARGS] = {};
	struct devmodel_wait end;
	int i, dev, nargs = argc - 2;

	if (argc < 2 || argv[1][0] == '-')
		return usage(argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2);
	if (nargs > DEVMODEL_MAX_ARGS) {
		fprintf(stderr, "dm-run: %d arguments are too many, %d is the limit\n", nargs,
			DEVMODEL_MAX_ARGS);
		return 2;
	}
	for (i = 0; i < nargs; i++) {
		const char *text = argv[i + 2];
		char *rest;

		errno = 0;
		args[i] = strtoull(text + (*text == '@'), &rest, 0);
		if (errno || *rest || rest == text + (*text == '@')) {
			fprintf(stderr, "dm-run: '%s' is neither a number nor @SIZE\n", text);
			return 2;
		}
		if (*text != '@')
			continue;
		memory[i] = calloc(args[i] + sizeof(uint64_t), 1);
		if (!memory[i]) {
			fprintf(stderr, "dm-run: no memory for '%s'\n", text);
			return 1;
		}
		args[i] = (uintptr_t)memory[i];
	}
	dev = devmodel_open(NULL);
	if (dev < 0 || devmodel_run_v(dev, &end, argv[1], nargs, args)) {
		fprintf(stderr, "dm-run: %s\n", devmodel_error());
		return 1;
	}
	printf("%s: %llu %llu\n", argv[1], (unsigned long long)end.result[0],
	       (unsigned long long)end.result[1]);
	for (i = 0; i < nargs; i++)
		if (memory[i])
			printf("%s: %llu\n", argv[i + 2], (unsigned long long)memory[i][0]);
	return 0;
}
