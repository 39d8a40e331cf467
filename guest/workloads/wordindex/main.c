// SPDX-License-Identifier: MIT
/*
 * The main job: index a text with plain malloc, have the device count, look up
 * and walk it through the program's own pointers, change it with the CPU while
 * parts of it lie in HBM, and do it all again. Every result of the device is
 * compared with the CPU's own. One JSON object on stdout.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../frame.h"
#include "index.h"
#include "ranges.h"

#define DEFAULT_BYTES	(2UL << 20)
#define ABSENT		1000
#define ADDED		500
#define MAX_DEPTH	64
/* High halves of marks: the CPU's walks, and the device's. */
#define CPU_MARK	0x0c000000
#define DEVICE_MARK	0x0d000000

struct phase {
	const char *name;
	double seconds;
};

static struct index words;
static uint64_t *counts;	/* what each word's count must be: a plain model of the changes */
static uint64_t tokens;
static struct wi_key *keys;
static uint64_t *answers;
static size_t nkeys;
static struct ranges memory;
static struct phase phases[8];
static size_t nphases;

/* --- the CPU's side */

static char *read_text(const char *path, size_t limit, size_t *length)
{
	int fd = open(path, O_RDONLY);
	ssize_t part = 1;
	char *text;

	if (fd < 0)
		err(2, "%s", path);
	text = must(malloc(limit));
	for (*length = 0; *length < limit && part > 0; *length += part) {
		part = read(fd, text + *length, limit - *length);
		if (part < 0)
			err(2, "%s", path);
	}
	close(fd);
	return text;
}

static void build(const char *path, size_t limit)
{
	size_t length, i;
	char *text = read_text(path, limit, &length);

	index_init(&words, length);
	tokens = index_text(&words, text, length);
	free(text);
	if (words.nwords < 2)
		errx(2, "%s: has no two words", path);
	counts = must(calloc(words.nwords + ADDED, sizeof(*counts)));
	for (i = 0; i < words.nwords; i++)
		counts[i] = words.all[i]->count;
}

static void add_key(const char *text, size_t length)
{
	keys[nkeys].text = must(malloc(length));
	memcpy(keys[nkeys].text, text, length);
	keys[nkeys++].length = length;
}

/* Every word, some that are not there, and some that will be; in no order. */
static void make_keys(void)
{
	uint64_t random = 1;
	char text[32];
	size_t i;

	keys = must(calloc(words.nwords + ABSENT + ADDED, sizeof(*keys)));
	answers = must(calloc(words.nwords + ABSENT + ADDED, sizeof(*answers)));
	for (i = 0; i < words.nwords; i++)
		add_key(words.all[i]->text, words.all[i]->length);
	for (i = 0; i < ABSENT; i++)
		add_key(text, snprintf(text, sizeof(text), "-absent-%zu-", i));
	for (i = 0; i < ADDED; i++)
		add_key(text, snprintf(text, sizeof(text), "-added-%zu-", i));
	for (i = nkeys; i > 1; i--) {
		struct wi_key key = keys[i - 1];
		size_t other;

		random = random * 6364136223846793005 + 1442695040888963407;
		other = (random >> 33) % i;
		keys[i - 1] = keys[other];
		keys[other] = key;
	}
}

static void find_memory(void)
{
	void *blocks[] = { words.buckets, keys, answers };
	size_t i;

	ranges_find(&memory, blocks, 3);
	for (i = 0; i < memory.count; i++)
		frame_watch(memory.range[i].start, memory.range[i].end);
	fprintf(stderr, "wordindex: %llu words in all, %zu different, %llu pairs, %zu KiB\n",
		(unsigned long long)tokens, words.nwords, (unsigned long long)words.nedges,
		memory.bytes >> 10);
}

/* Counts rise, words and edges are added, all over the structure. */
static void change(void)
{
	struct wi_word *word, *before = words.all[0];
	size_t i, old = words.nwords;
	char text[32];

	for (i = 0; i < old; i += 3) {
		words.all[i]->count += 5;
		counts[i] += 5;
		tokens += 5;
	}
	for (i = 0; i < ADDED; i++) {
		word = index_word(&words, text, snprintf(text, sizeof(text), "-added-%zu-", i));
		word->count = i + 1;
		counts[old + i] = i + 1;
		tokens += i + 1;
		index_follow(&words, before, word);
		index_follow(&words, word, words.all[i * 7919 % old]);
		before = i % 5 ? word : words.all[i * 104729 % old];
	}
}

/* Everything that the CPU can know of the index, whatever the device did to it meanwhile. */
static void reread(void)
{
	uint64_t bins[64] = {}, total, edges = 0, weights = 0;
	struct wi_edge *edge;
	size_t i;

	check(index_count(&words, &total, bins) == words.nwords, "words lost on their chains");
	check(total == tokens, "counts sum up to %llu, not %llu", (unsigned long long)total,
	      (unsigned long long)tokens);
	for (i = 0; i < words.nwords; i++) {
		struct wi_word *word = words.all[i];
		uint64_t own = 0, visited = 0;

		check(word->count == counts[i], "count of '%.*s' is %llu, not %llu",
		      (int)word->length, word->text, (unsigned long long)word->count,
		      (unsigned long long)counts[i]);
		check(index_find(&words, word->text, word->length, &visited) == word,
		      "word %zu is not found", i);
		for (edge = word->edges; edge; edge = edge->next) {
			own++;
			weights += edge->weight;
		}
		check(own == word->nedges, "'%.*s' has %llu edges, not %llu", (int)word->length,
		      word->text, (unsigned long long)own, (unsigned long long)word->nedges);
		edges += own;
	}
	check(edges == words.nedges, "%llu edges, not %llu", (unsigned long long)edges,
	      (unsigned long long)words.nedges);
	check(weights >= words.nedges, "weights lost");
}

/* --- the device's side, each compared with the CPU's own */

static void count_words(void)
{
	uint64_t *bins = must(calloc(64, sizeof(*bins))), own[64] = {}, total, number;
	struct devmodel_wait end;

	if (dev >= 0) {
		must_do(devmodel_run(dev, &end, "word_count", words.buckets, words.nbuckets, bins));
		look_at_hbm();
	}
	number = index_count(&words, &total, own);
	check(number == words.nwords && total == tokens, "the CPU counts %llu words",
	      (unsigned long long)number);
	if (dev >= 0) {
		check(end.result[0] == number && end.result[1] == total,
		      "the device counts %llu words and %llu in all, not %llu and %llu",
		      (unsigned long long)end.result[0], (unsigned long long)end.result[1],
		      (unsigned long long)number, (unsigned long long)total);
		check(!memcmp(bins, own, sizeof(own)), "the device sees other chain lengths");
	}
	free(bins);
}

static void look_up(void)
{
	uint64_t found = 0, visited = 0;
	struct devmodel_wait end;
	struct wi_word *word;
	size_t i;

	memset(answers, 0xff, nkeys * sizeof(*answers));
	if (dev >= 0) {
		must_do(devmodel_run(dev, &end, "hash_lookup", words.buckets, words.nbuckets, keys,
				     nkeys, answers));
		look_at_hbm();
	}
	for (i = 0; i < nkeys; i++) {
		word = index_find(&words, keys[i].text, keys[i].length, &visited);
		found += word != NULL;
		if (dev >= 0)
			check(answers[i] == (word ? word->count : 0), "'%.*s' is there %llu times, not %llu",
			      (int)keys[i].length, keys[i].text, (unsigned long long)answers[i],
			      (unsigned long long)(word ? word->count : 0));
	}
	check(found == words.nwords, "the CPU finds %llu words", (unsigned long long)found);
	if (dev >= 0)
		check(end.result[0] == found && end.result[1] == visited,
		      "the device finds %llu keys in %llu steps, not %llu in %llu",
		      (unsigned long long)end.result[0], (unsigned long long)end.result[1],
		      (unsigned long long)found, (unsigned long long)visited);
}

/* Both walk from a word; then every word must bear the mark it should. */
static void walk(struct wi_word *start, uint32_t number)
{
	uint64_t *marks = must(calloc(words.nwords, sizeof(*marks))), reached, edges;
	uint64_t mark = DEVICE_MARK | number;
	struct devmodel_wait end;
	size_t i;

	reached = index_walk(&words, start, CPU_MARK | number, MAX_DEPTH, &edges);
	for (i = 0; i < words.nwords; i++) {
		marks[i] = words.all[i]->mark;
		if (marks[i] >> 32 == (CPU_MARK | number))
			marks[i] = mark << 32 | (uint32_t)marks[i];
	}
	check(reached > 1, "the CPU reaches %llu words",
	      (unsigned long long)reached);
	if (dev >= 0) {
		must_do(devmodel_run(dev, &end, "bfs", start, mark, MAX_DEPTH));
		look_at_hbm();
		check(end.result[0] == reached && end.result[1] == edges,
		      "the device reaches %llu words over %llu edges, not %llu over %llu",
		      (unsigned long long)end.result[0], (unsigned long long)end.result[1],
		      (unsigned long long)reached, (unsigned long long)edges);
		for (i = 0; i < words.nwords; i++)
			check(words.all[i]->mark == marks[i], "mark of word %zu is 0x%llx, not 0x%llx",
			      i, (unsigned long long)words.all[i]->mark, (unsigned long long)marks[i]);
	}
	free(marks);
}

static struct wi_word *most_frequent(void)
{
	struct wi_word *word = words.all[0];
	size_t i;

	for (i = 1; i < words.nwords; i++)
		if (words.all[i]->count > word->count)
			word = words.all[i];
	return word;
}

/* --- placement */

/* The first @bytes of it all. Some pages may stay where they are, which is no mistake. */
static void migrate(size_t bytes, enum devmodel_target target)
{
	size_t i, length, page = 1UL << info.page_shift;
	struct devmodel_migrate done;

	for (i = 0; has_hbm() && i < memory.count && bytes; i++) {
		length = memory.range[i].end - memory.range[i].start;
		length = length < bytes ? length : (bytes + page - 1) & -page;
		must_do(devmodel_migrate(dev, (void *)memory.range[i].start, length, target, &done,
					 NULL));
		bytes -= length < bytes ? length : bytes;
	}
	if (has_hbm())
		look_at_hbm();
}

static void phase(const char *name, double begin)
{
	phases[nphases++] = (struct phase) { name, now() - begin };
	fprintf(stderr, "wordindex: %s: %.2f s\n", name, phases[nphases - 1].seconds);
}

static void job(const char *path, size_t limit)
{
	double begin = now();

	build(path, limit);
	make_keys();
	find_memory();
	phase("build", begin);
	frame_begin();

	/* What the device touches comes to it, where there is somewhere to come to. */
	begin = now();
	frame_advise(DEVMODEL_POLICY_ON_TOUCH);
	count_words();
	look_up();
	walk(most_frequent(), 1);
	phase("on touch", begin);

	/* Half of it lies in HBM, wherever that cuts it, while the CPU changes all of it. */
	begin = now();
	frame_advise(DEVMODEL_POLICY_IN_PLACE);
	migrate(memory.bytes / 2, DEVMODEL_TARGET_DEVICE);
	change();
	count_words();
	migrate(memory.bytes / 2, DEVMODEL_TARGET_DEVICE);
	look_up();
	walk(words.all[words.nwords - 1], 2);
	reread();
	phase("changed", begin);

	/* All of it there, all of it back, and nothing lost on the way. */
	begin = now();
	migrate(memory.bytes, DEVMODEL_TARGET_DEVICE);
	migrate(memory.bytes, DEVMODEL_TARGET_SYSTEM);
	reread();
	count_words();
	phase("there and back", begin);
	frame_end();
}

static void print_result(void)
{
	size_t i;

	frame_print();
	printf(", \"tokens\": %llu, \"words\": %zu, \"edges\": %llu, \"phases\": {",
	       (unsigned long long)tokens, words.nwords, (unsigned long long)words.nedges);
	for (i = 0; i < nphases; i++)
		printf("%s\"%s\": %.3f", i ? ", " : "", phases[i].name, phases[i].seconds);
	printf("}}\n");
}

static int usage(int code)
{
	printf("usage: wordindex [--bytes N] [--cpu-only] FILE\n"
	       "Index the words of a text (its first N bytes, default 2 MiB), let the device count,\n"
	       "look up and walk the index, and compare with the CPU's own. One JSON object on\n"
	       "stdout; exit code 0 only if everything agrees. --cpu-only: without a device.\n");
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "bytes", required_argument, NULL, 'b' },
		{ "cpu-only", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	size_t limit = DEFAULT_BYTES;
	bool cpu_only = false;
	int option;
	char *rest;

	while ((option = getopt_long(argc, argv, "b:ch", options, NULL)) != -1) {
		switch (option) {
		case 'b':
			limit = strtoull(optarg, &rest, 0);
			if (*rest || !limit) {
				fprintf(stderr, "wordindex: '%s' is not a number of bytes\n", optarg);
				return 2;
			}
			break;
		case 'c':
			cpu_only = true;
			break;
		default:
			return usage(option == 'h' ? 0 : 2);
		}
	}
	if (optind != argc - 1)
		return usage(2);
	if (cpu_only)
		frame_name("wordindex");
	else
		frame_open("wordindex");
	job(argv[optind], limit);
	print_result();
	return frame_exit();
}
