// SPDX-License-Identifier: MIT
/*
 * The device works beside a process that has nothing to do with it and takes
 * all memory there is: whose pages lie in HBM then?
 */
#include <err.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "patterns.h"

static pid_t pid;
static int hold;		/* the hog lives as long as this is open */

extern char **environ;

/* Start dm-hog, and wait until it has what it wants. */
static void start(void)
{
	int input[2], output[2];
	posix_spawn_file_actions_t files;
	char *words[] = { "dm-hog", NULL }, line[256] = "";
	FILE *said;

	if (pipe(input) || pipe(output))
		err(1, "pipe");
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, input[0], 0);
	posix_spawn_file_actions_adddup2(&files, output[1], 1);
	posix_spawn_file_actions_addclose(&files, input[1]);
	posix_spawn_file_actions_addclose(&files, output[0]);
	errno = posix_spawnp(&pid, words[0], &files, NULL, words, environ);
	if (errno)
		err(1, "dm-hog");
	posix_spawn_file_actions_destroy(&files);
	close(input[0]);
	close(output[1]);
	hold = input[1];
	said = fdopen(output[0], "r");
	if (!said || !fgets(line, sizeof(line), said))
		errx(1, "dm-hog ended without a word");
	fclose(said);
	fprintf(stderr, "hog: %s", line);
}

static void setup(size_t bytes)
{
	stream.setup(bytes);
	start();
}

static void work(void)
{
	stream.work();
}

static void verify(void)
{
	int status;

	/* Still there: what was counted was its own. */
	check(!waitpid(pid, &status, WNOHANG), "the hog ended early: was it killed?");
	close(hold);
	stream.verify();
	if (waitpid(pid, &status, 0) == pid)
		check(!status, "the hog ended with 0x%x", status);
}

const struct pattern hog = {
	.name = "hog",
	.what = "stream, beside a process without the device that takes all memory",
	.bytes = 8 << 20,
	.setup = setup,
	.work = work,
	.verify = verify,
};
