/* SPDX-License-Identifier: Apache-2.0
 *
 * What matters when several machines work together: the program itself, names,
 * interfaces, Open MPI, NCCL, GPUs that reach each other.
 */
#include "config.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cmd/doctor.h"
#include "gang/gang.h"
#include "node/gpu.h"

/* --- the program --- */

void doctor_look_digest(struct doctor_finding *f)
{
    char digest[RWF_DIGEST_LEN] = "", *self = rwf_fs_self();
    struct rwf_err err = RWF_ERR_INIT;
    if (self && rwf_digest_file(self, digest, NULL, &err) == 0)
        rwf_str_addf(&f->text, "%.16s", digest);
    else
        rwf_str_add(&f->text, err.text);
    free(self);
}

void doctor_look_system(struct doctor_finding *f)
{
    struct utsname os;
    uname(&os);
    rwf_str_addf(&f->text, "%s %s %s", os.sysname, os.release, os.machine);
}

/* --- names --- */

/* The addresses of name; false: it has none. */
static bool add_addresses(struct rwf_str *out, const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *a;
    if (getaddrinfo(name, NULL, &hints, &found))
        return false;
    for (a = found; a; a = a->ai_next) {
        char text[INET6_ADDRSTRLEN] = "";
        const void *at =
            a->ai_family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)
                      ->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)(const void *)a->ai_addr)
                      ->sin6_addr;
        inet_ntop(a->ai_family, at, text, sizeof(text));
        rwf_str_addf(out, "%s%s", a == found ? "" : " ", text);
    }
    freeaddrinfo(found);
    return true;
}

void doctor_look_host(struct doctor_finding *f)
{
    char name[256] = "";
    gethostname(name, sizeof(name) - 1);
    rwf_str_addf(&f->text, "%s: ", name);
    if (add_addresses(&f->text, name))
        return;
    rwf_str_add(&f->text, "this name has no address here");
    doctor_set(f, DOCTOR_NOTE,
               "programs that look up their own host's name fail: add it "
               "to /etc/hosts");
}

void doctor_look_names(struct doctor_finding *f, const char *names)
{
    char *copy = rwf_xstrdup(names), *save = NULL;
    size_t known = 0, unknown = 0;
    struct rwf_str bad = {0}, one = {0};
    for (char *n = strtok_r(copy, ",", &save); n; n = strtok_r(NULL, ",", &save)) {
        rwf_str_clear(&one);
        if (add_addresses(&one, n))
            known++;
        else
            rwf_str_addf(&bad, "%s%s", unknown++ ? ", " : "", n);
    }
    rwf_str_addf(&f->text, "%zu of the other hosts' names have an address here", known);
    if (unknown) {
        rwf_str_addf(&f->text, ", these have none: %s", bad.data);
        doctor_set(f, DOCTOR_NOTE,
                   "raywf needs no names; programs that do need them in "
                   "/etc/hosts or in DNS");
    }
    rwf_str_free(&bad);
    rwf_str_free(&one);
    free(copy);
}

/* --- interfaces --- */

static long sys_number(const char *interface, const char *what)
{
    char *path = rwf_xasprintf("/sys/class/net/%s/%s", interface, what);
    char *text = rwf_fs_read(path, 64, NULL, NULL);
    long n = text ? strtol(text, NULL, 10) : -1;
    free(text);
    free(path);
    return n;
}

void doctor_look_network(struct doctor_finding *f)
{
    struct ifaddrs *all, *i;
    size_t count = 0;
    if (getifaddrs(&all)) {
        rwf_str_addf(&f->text, "unknown: %s", strerror(errno));
        return;
    }
    for (i = all; i; i = i->ifa_next) {
        char text[INET_ADDRSTRLEN];
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
            !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
            continue;
        long mtu = sys_number(i->ifa_name, "mtu"),
             speed = sys_number(i->ifa_name, "speed");
        inet_ntop(AF_INET,
                  &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr,
                  text, sizeof(text));
        rwf_str_addf(&f->text, "%s%s %s", count++ ? "; " : "", i->ifa_name, text);
        if (mtu > 0)
            rwf_str_addf(&f->text, " MTU %ld", mtu);
        if (speed > 0)
            rwf_str_addf(&f->text, " %g Gbit/s", (double)speed / 1000);
    }
    freeifaddrs(all);
    if (count == 0) {
        rwf_str_add(&f->text, "no interface but the loopback");
        doctor_set(f, DOCTOR_OK, NULL);
    }
}

/* --- Open MPI, NCCL --- */

void doctor_look_mpi(struct doctor_finding *f)
{
    char *mpirun = gang_mpirun(NULL), line[200] = "";
    struct rwf_str command = {0};
    if (!mpirun) {
        rwf_str_add(&f->text, "not found");
        doctor_set(f, DOCTOR_NOTE, "no gangs here: install openmpi-bin");
        return;
    }
    rwf_str_add_shell(&command, mpirun);
    rwf_str_add(&command, " --version 2>/dev/null");
    FILE *p = popen(command.data, "r");
    if (p && !fgets(line, sizeof(line), p))
        *line = '\0';
    if (p)
        pclose(p);
    line[strcspn(line, "\n")] = '\0';
    rwf_str_add(&f->text, *line ? line : "mpirun does not say which");
    rwf_str_free(&command);
    free(mpirun);
}

void doctor_look_nccl(struct doctor_finding *f)
{
    const struct node_gpu *gpus;
    int (*get)(int *version) = NULL, version = 0;
    void *lib = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_LOCAL);
    if (lib)
        *(void **)&get = dlsym(lib, "ncclGetVersion");
    if (get && get(&version) == 0)
        rwf_str_addf(&f->text, "%d.%d.%d", version / 10000, version / 100 % 100,
                     version % 100);
    else
        rwf_str_add(&f->text, "not found");
    if (!version && node_gpus(&gpus) > 1)
        doctor_set(f, DOCTOR_NOTE, "GPUs of several ranks need it: install libnccl2");
    if (lib)
        dlclose(lib);
}

/* --- GPUs that reach each other --- */

void doctor_look_peers(struct doctor_finding *f)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus), missing = 0;
    bool *reach = rwf_xcalloc(count * count + 1, sizeof(*reach));
    struct rwf_str pairs = {0};
    int rc = count > 1 ? node_gpus_peers(reach) : 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            if (!reach[i * count + j] || !reach[j * count + i])
                rwf_str_addf(&pairs, "%s%zu-%zu", missing++ ? ", " : "", i, j);
    if (count < 2)
        rwf_str_add(&f->text, "there are no two");
    else if (rc)
        rwf_str_add(&f->text, "the driver does not tell");
    else if (!missing)
        rwf_str_add(&f->text, "each reads the memory of each other one");
    else
        rwf_str_addf(&f->text, "not between %s", pairs.data);
    if (missing)
        doctor_set(f, DOCTOR_NOTE,
                   "what goes between these goes through the CPU's memory");
    rwf_str_free(&pairs);
    free(reach);
}
