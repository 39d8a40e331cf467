// SPDX-License-Identifier: MIT
/*
 * A key-value store that both use: the device answers and updates in batches,
 * the CPU one key at a time. Most requests are for few keys.
 */
#include <stdlib.h>
#include <string.h>

#include "patterns.h"

#define WORDS	8
#define ROUNDS	4
#define READS	4096
#define UPDATES	512
#define CPU_UPDATES 256
/* Nine of ten requests are for a tenth of the keys. */
#define HOT	10

struct slot {
	uint64_t key, value;
};

static struct slot *table;
static uint64_t (*values)[WORDS], *keys, *answers, nslots, nkeys;
static uint64_t chance = 1;
/* A plain model: the sum of each value, by number. */
static uint64_t *model, *wrong, looked_for, *asked;

/* Keys are odd, so never 0. */
static uint64_t key_of(uint64_t number)
{
	return number * 0xbf58476d1ce4e5b9ULL | 1;
}

static struct slot *slot_of(uint64_t key)
{
	uint64_t at = (key * 0x9e3779b97f4a7c15ULL) >> 32;

	while (table[at & (nslots - 1)].key && table[at & (nslots - 1)].key != key)
		at++;
	return &table[at & (nslots - 1)];
}

static uint64_t any_number(void)
{
	uint64_t hot = nkeys / HOT;

	if (random_next(&chance) % 10)
		return random_next(&chance) % hot;
	return hot + random_next(&chance) % (nkeys - hot);
}

static void setup(size_t bytes)
{
	uint64_t number, word;

	nslots = 1;
	while (nslots * 2 * (sizeof(*table) + sizeof(*values) / 2) < bytes)
		nslots *= 2;
	nkeys = nslots / 2;
	table = frame_memory(nslots * sizeof(*table));
	values = frame_memory(nkeys * sizeof(*values));
	keys = frame_memory(READS * sizeof(*keys));
	answers = frame_memory(READS * sizeof(*answers));
	model = must(calloc(nkeys, sizeof(*model)));
	asked = must(calloc(READS, sizeof(*asked)));
	wrong = must(calloc(ROUNDS, sizeof(*wrong)));
	for (number = 0; number < nkeys; number++) {
		struct slot *slot = slot_of(key_of(number));

		/* The key is there already: two numbers with one key, which then is the first's. */
		check(!slot->key, "key %llu is there twice", (unsigned long long)number);
		*slot = (struct slot) { key_of(number), (uintptr_t)values[number] };
		for (word = 0; word < WORDS; word++) {
			values[number][word] = number + word;
			model[number] += number + word;
		}
	}
}

/* The device answers, the CPU compares with the model. */
static void get(int round)
{
	size_t i;

	for (i = 0; i < READS; i++) {
		asked[i] = any_number();
		keys[i] = key_of(asked[i]);
	}
	run("kv_get", table, nslots, keys, READS, answers);
	looked_for += end.result[0];
	for (i = 0; i < READS; i++)
		wrong[round] += answers[i] != model[asked[i]];
}

static void add(void)
{
	size_t i;

	for (i = 0; i < UPDATES; i++) {
		uint64_t number = any_number();

		keys[i] = key_of(number);
		model[number] += 7;
	}
	run("kv_add", table, nslots, keys, UPDATES, 7);
}

static void update_by_cpu(void)
{
	size_t i;

	for (i = 0; i < CPU_UPDATES; i++) {
		uint64_t number = any_number();
		struct slot *slot = slot_of(key_of(number));

		((uint64_t *)slot->value)[i % WORDS] += i;
		model[number] += i;
	}
}

static void work(void)
{
	int round;

	for (round = 0; round < ROUNDS; round++) {
		get(round);
		update_by_cpu();
		add();
	}
}

static void verify(void)
{
	uint64_t number;
	int round;

	for (round = 0; round < ROUNDS; round++)
		check(!wrong[round], "round %d: %llu wrong answers", round,
		      (unsigned long long)wrong[round]);
	check(looked_for == ROUNDS * READS, "the device found %llu keys",
	      (unsigned long long)looked_for);
	for (number = 0; number < nkeys; number++)
		check(sum_of(values[number], WORDS) == model[number], "value %llu is wrong",
		      (unsigned long long)number);
}

const struct pattern key_value = {
	.name = "kv",
	.what = "a key-value store that both read and update; most requests are for few keys",
	.bytes = 4 << 20,
	.setup = setup,
	.work = work,
	.verify = verify,
};
