/* SPDX-License-Identifier: Apache-2.0
 *
 * For t5020: what an engine says to the server of its run, for a server that a test has
 * started itself.  serve_control SOCKET NAME BODY  deploys what a recipe (as JSON) has
 * beneath serve.NAME and waits until it is up; with SOCKET alone the server ends.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "serve/spec.h"
#include "wire/frame.h"

static int stop(const char *why)
{
    fprintf(stderr, "serve_control: %s\n", why);
    return 1;
}

static char *request(int argc, char **argv, struct rwf_err *err)
{
    if (argc == 2)
        return strdup("{\"do\":\"down\",\"timeout\":5000000000}");
    json_t *body = json_loads(argv[3], 0, NULL);
    json_t *spec = serve_spec_complete(argv[2], body, err);
    if (spec == NULL)
        return NULL;
    json_t *j = json_pack("{s:s, s:o, s:b}", "do", "deploy", "app", spec, "wait", 1);
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    json_decref(body);
    return text;
}

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (argc != 2 && argc != 4)
        return stop("SOCKET [NAME BODY] is expected");
    char *text = request(argc, argv, &err);
    int fd = text != NULL ? wire_unix_connect(argv[1], &err) : -1;
    FILE *f = fd >= 0 ? fdopen(fd, "r+") : NULL;
    char *line = NULL;
    size_t room = 0;
    if (f == NULL)
        return stop(err.text);
    fprintf(f, "%s\n", text);
    fflush(f);
    free(text);
    while (getline(&line, &room, f) > 0 && strstr(line, "\"ok\":") == NULL)
        continue;
    bool good = line != NULL && strstr(line, "\"ok\":true") != NULL;
    printf("%s", line != NULL ? line : "");
    free(line);
    fclose(f);
    return good ? 0 : 1;
}
