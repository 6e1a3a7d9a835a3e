/* SPDX-License-Identifier: Apache-2.0
 * A shared object, but no plugin. */
int other_answer(void);
int other_answer(void)
{
    return 42;
}
