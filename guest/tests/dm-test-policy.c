// SPDX-License-Identifier: MIT
/* The machine's policy: what a device's touch does where nobody advised. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define PARAMETER	"/sys/module/devmodel/parameters/policy"

static enum devmodel_policy machines_policy(void)
{
	char name[16] = "";
	int fd = open(PARAMETER, O_RDONLY);

	EXPECT(fd >= 0 && read(fd, name, sizeof(name) - 1) > 0);
	close(fd);
	if (!strcmp(name, "on_touch\n"))
		return DEVMODEL_POLICY_ON_TOUCH;
	EXPECT(!strcmp(name, "in_place\n"));
	return DEVMODEL_POLICY_IN_PLACE;
}

/* Returns 0, or an errno. */
static int set_policy(const char *name)
{
	int fd = open(PARAMETER, O_WRONLY), ret;

	EXPECT(fd >= 0);
	ret = write(fd, name, strlen(name)) < 0 ? errno : 0;
	close(fd);
	return ret;
}

static void unadvised(int dev)
{
	bool moves = machines_policy() == DEVMODEL_POLICY_ON_TOUCH;
	uint64_t *memory = map_anonymous(24);
	struct devmodel_wait end;

	pattern_write(memory, 16, 1);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(16)));
	EXPECT_EQ(pages_in_hbm(dev, memory, 16), moves ? 16 : 0);
	EXPECT_PATTERN(memory, 16, 1);
	/* Pages that are nowhere yet, too. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + WORDS(16), WORDS(8), 5));
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(16), 8), moves ? 8 : 0);
	EXPECT_EQ(memory[WORDS(24) - 1], 5);
	/* What cannot move is reached in place. */
	memory = map_shared(2);
	pattern_write(memory, 2, 2);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	EXPECT_EQ(pages_in_hbm(dev, memory, 2), 0);
	EXPECT_PATTERN(memory, 2, 2);
}

static void advised(int dev)
{
	bool moves = machines_policy() == DEVMODEL_POLICY_ON_TOUCH;
	uint64_t *memory = map_anonymous(12);
	struct devmodel_wait end;

	EXPECT_OK(devmodel_advise(dev, memory, 4 * page_size(), DEVMODEL_POLICY_IN_PLACE));
	EXPECT_OK(devmodel_advise(dev, memory + WORDS(8), 4 * page_size(),
				  DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(12), 3));
	EXPECT_EQ(pages_in_hbm(dev, memory, 4), 0);
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(4), 4), moves ? 4 : 0);
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(8), 4), 4);
	EXPECT_EQ(memory[WORDS(12) - 1], 3);
	/* With its mapping it ends, and the machine's policy is back. */
	EXPECT(mmap(memory, 4 * page_size(), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
	EXPECT(!madvise(memory, 4 * page_size(), MADV_NOHUGEPAGE));
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(4), 4));
	EXPECT_EQ(pages_in_hbm(dev, memory, 4), moves ? 4 : 0);
}

/* Advice to do what the machine's policy says anyway is advice for all that. */
static void changed(int dev)
{
	bool moves = machines_policy() == DEVMODEL_POLICY_ON_TOUCH;
	uint64_t *memory = map_anonymous(8);
	struct devmodel_wait end;
	int ran;

	EXPECT_OK(devmodel_advise(dev, memory, 4 * page_size(),
				  moves ? DEVMODEL_POLICY_ON_TOUCH : DEVMODEL_POLICY_IN_PLACE));
	EXPECT_EQ(set_policy(moves ? "in_place" : "on_touch"), 0);
	ran = devmodel_run(dev, &end, "fill", memory, WORDS(8), 6);
	/* Before anything is expected: others run after this. */
	EXPECT_EQ(set_policy(moves ? "on_touch\n" : "in_place\n"), 0);
	EXPECT_OK(ran);
	EXPECT_EQ(pages_in_hbm(dev, memory, 4), moves ? 4 : 0);
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(4), 4), moves ? 0 : 4);
}

static void refused(int dev)
{
	enum devmodel_policy before = machines_policy();

	(void)dev;
	EXPECT_EQ(set_policy("first_touch"), EINVAL);
	EXPECT_EQ(set_policy("on_touchy"), EINVAL);
	EXPECT_EQ(machines_policy(), before);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "where nobody advised it is the machine's policy", .run = unadvised,
		  .needs = KTAP_HBM },
		{ .name = "advice goes before the machine's policy", .run = advised,
		  .needs = KTAP_HBM },
		{ .name = "advice stays when the machine's policy changes", .run = changed,
		  .needs = KTAP_HBM },
		{ .name = "a policy that is none is refused", .run = refused },
	};

	return ktap_main(argc, argv, "The machine's policy", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
