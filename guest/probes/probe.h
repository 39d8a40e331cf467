/* SPDX-License-Identifier: MIT */
/*
 * Placement probes: each makes the kernel choose where pages go, in one of the
 * ways in which it can, and counts those that arrived on the device's node.
 * Each runs in a process of its own; dm-probe.c runs them and judges.
 */
#ifndef _PROBE_H
#define _PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* What a probe asks for, and so what may become of it. */
enum probe_rule {
	/* For nothing. A plain node takes pages then (and must, or nothing was probed). */
	PROBE_SPILLS,
	/* For what may not lie in movable memory, or is forbidden: none may arrive. */
	PROBE_NEVER,
	/* For the node: all pages must arrive. */
	PROBE_ASKED,
	/* For the node, and then waits: a plain node's pages are taken away again, a CDM's stay. */
	PROBE_STAYS,
};

/* Pages that arrived on the node, of those that could have. */
struct probe_count {
	long arrived;
	long of;
};

struct probe {
	const char *name;
	enum probe_rule rule;
	struct probe_count (*run)(void);
	const char *about;	/* what it does, in a few words */
};

/* The tables of the probe_*.c files, each ended by an entry without a name. */
extern const struct probe probes_pressure[];
extern const struct probe probes_kernel[];
extern const struct probe probes_movers[];
extern const struct probe probes_hugetlb[];
extern const struct probe probes_asked[];
extern const struct probe probes_stuck[];
extern const struct probe probes_groups[];
extern const struct probe probes_masks[];
extern const struct probe probes_others[];
extern const struct probe probes_counts[];

/* Many enough to show above what a node's free memory moves by itself; 64 MiB. */
#define PROBE_MANY	16384L
#define PROBE_SOME	1024L
#define HUGE_PAGES	512L	/* small pages in a huge one */
#define SYSTEM_NODE	0

/* The device's node. */
extern int probe_node;
/* Find it, and which model it is of. False: there is none; the reason is on stderr. */
bool probe_find_node(bool *cdm);

/*
 * Where file systems are mounted for the probes: an ext4 on a file of its own,
 * control groups (version 2), and a tmpfs that interleaves.
 */
#define PROBE_FOLDER	"/run/dm-probe"
#define PROBE_DISK	PROBE_FOLDER "/disk"
#define PROBE_CGROUPS	PROBE_FOLDER "/cgroups"

/* Make them, and take them away again. False: no; the reason is on stderr. */
bool probe_fixture(void);
void probe_fixture_end(void);

/* The probe cannot be done: says why and ends its process. */
__attribute__((noreturn, format(printf, 1, 2)))
void probe_fail(const char *format, ...);
#define PROBE_MUST(condition) \
	do { \
		if (!(condition)) \
			probe_fail("%s:%d: %s: %m", __FILE__, __LINE__, #condition); \
	} while (0)

/* Memory of this process. All are filled with something other than zeros. */
char *probe_map(long pages);
char *probe_map_untouched(long pages);
/* Huge-page aligned, untouched. */
char *probe_map_huge(long huge_pages);
void probe_touch(char *address, long pages);
/* A file without a name, of zeroed pages. Returns its descriptor. */
int probe_file(const char *folder, long pages);
/* How many of these pages lie on @node now; those that are not there count nowhere. */
long probe_on(const char *address, long pages, int node);
static inline struct probe_count probe_arrived(const char *address, long pages)
{
	return (struct probe_count) { probe_on(address, pages, probe_node), pages };
}

/* Policies and moves, by system call. Node -1: none. They end the probe if refused. */
void policy_task(int mode, int node);
void policy_range(const char *address, long pages, int mode, int node);
void policy_task_mask(int mode, unsigned long nodes);
unsigned long nodes_allowed(void);
/* move_pages(); ends the probe unless all pages are there after it. */
void move_to(char *address, long pages, int node);

/*
 * Most of the system's node is held by a process of its own, so that probes need not fill it.
 * Taking it where it is there already does nothing; a probe that needs room drops it. Taken and
 * ended by the process that runs the probes. Limited in time.
 */
bool ballast_take(void);
void ballast_drop(void);
void ballast_end(void);
/* Fill the system's node, as far as it goes, with page cache that can be dropped again. */
void pressure(void);

/* A file of a kernel file system, of one line, until the next call. */
const char *text_in(const char *path);
/* Such a file as a number; a named field of it ("AnonPages:"). */
long number_in(const char *path);
long field_in(const char *path, const char *field);
/* Pages that a field of a node's meminfo shows. */
long node_pages(int node, const char *field);
bool write_text(const char *path, const char *text);
/* Write a setting; it is put back when the probe has ended. */
void setting(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Put all settings back, and swap off. When the probe has ended. */
void settings_restore(void);
void swap_on(void);
/* To a disk, of which the kernel reads ahead; a file behind a loop device. */
void swap_on_disk(void);
/* So many huge pages are set aside on the device's node. */
void probe_pool(int huge_pages);
/* Go into a control group of one's own, with this controller. */
void group_enter(const char *controller);
/* No control group has a controller any more. When the probe has ended. */
void groups_end(void);
/* Wait until @field of @path has grown by @growth; false after @seconds. */
bool wait_growth(const char *path, const char *field, long since, long growth, int seconds);
void sleep_ms(long ms);

/* What the process that runs the probes shares with those that it has do them. */
struct probe_shared {
	int node;	/* probe_node, for a process that did not find it itself */
	bool cdm;
	struct probe_count count;
	char why[200];
	long cursor;	/* pages of the filling file that were read */
	char swap[40];	/* what is swapped to, or nothing */
	int settings;
	struct {
		char path[100];
		char text[60];
	} setting[16];
};
extern struct probe_shared *probe_shared;

#endif /* _PROBE_H */
