// SPDX-License-Identifier: GPL-2.0
/*
 * Placement policy per address range: what a device fault does with the page.
 *
 * The tree's own lock guards it. RCU mode would spare the fault thread, its only
 * reader, that lock; but a tree of ranges in that mode is not freed safely, see
 * "Advice" in docs/driver.md.
 */
#include "devmodel.h"

/**
 * devmodel_policy_set() - advise on a range; the latest advice on a page holds
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 * @policy: what to do there
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
int devmodel_policy_set(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, enum devmodel_policy policy)
{
	void *entry;

	switch (policy) {
	case DEVMODEL_POLICY_IN_PLACE:
		entry = NULL;
		break;
	case DEVMODEL_POLICY_ON_TOUCH:
		entry = xa_mk_value(policy);
		break;
	default:
		return -EINVAL;
	}
	return mtree_store_range(&mirror->policy, start >> PAGE_SHIFT,
				 (end - 1) >> PAGE_SHIFT, entry, GFP_KERNEL);
}

/**
 * devmodel_policy_get() - the policy at an address
 * @mirror: the mirror
 * @address: where
 * @end: set to the end of the stretch that has the same policy
 *
 * Return: the policy.
 */
enum devmodel_policy devmodel_policy_get(struct devmodel_mirror *mirror,
					 unsigned long address, unsigned long *end)
{
	MA_STATE(mas, &mirror->policy, address >> PAGE_SHIFT, address >> PAGE_SHIFT);
	enum devmodel_policy policy = DEVMODEL_POLICY_IN_PLACE;
	void *entry;

	mas_lock(&mas);
	entry = mas_walk(&mas);
	if (entry)
		policy = xa_to_value(entry);
	*end = mas.last >= ULONG_MAX >> PAGE_SHIFT ? ULONG_MAX & PAGE_MASK :
		(mas.last + 1) << PAGE_SHIFT;
	mas_unlock(&mas);
	return policy;
}
