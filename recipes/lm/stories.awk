# SPDX-License-Identifier: Apache-2.0
# Writes count stories as JSON lines to stories.jsonl. The numbers come from a generator of its
# own, so that every awk writes the same.
function draw(n)
{
    state = (state * 1103 + 12345) % 1000003
    return state % n
}
function one_of(list,    words)
{
    return words[draw(split(list, words, "|")) + 1]
}
function tell(    who, s)
{
    who = one_of("fox|king|child|miller|sailor|crow|wolf|girl")
    s = one_of("The old|The young|The poor|One day the|Once a") " " who " "
    s = s one_of("went to|looked for|dreamed of|found|sold|lost") " "
    s = s one_of("the sea|a golden ring|the dark wood|a loaf of bread|the moon|a red boat") ". "
    s = s "The " who " " one_of("was glad|was afraid|sang a song|slept until morning|ran home")
    return s one_of("| at once| in the end| after all") "."
}
BEGIN {
    state = 7
    for (i = 0; i < count; i++)
        printf "{\"text\": \"%s\"}\n", tell() > "stories.jsonl"
}
