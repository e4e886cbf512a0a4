/*
 * Times DPDK's rte_acl for the classifier benchmark.
 *
 * Goes in: a file, which classifier-bench writes, with rules and headers:
 *     R src len dst len sport sport dport dport proto mask    the first rule has the best priority
 *     H src dst sport dport proto answer                      answer: the rule from 1, 0 for none
 * all numbers in decimal. Comes out, on standard output:
 *     ready METHOD BUILD_MS MISMATCHES    once
 *     NANOSECONDS                         a lookup, for each line on standard input
 * Ends when standard input does. Anything wrong is said on standard error, with exit status 1.
 *
 * usage: rte-acl-peer FILE CPU MEGABYTES
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_vect.h>

/* The burst that performs best; results are written into an array of this size. */
#define BURST 256u
/* More than any run asks for, so that a wrong file can't ask for all memory. */
#define MOST (1u << 24)
/* How long a turn takes at least, and passes of one at most. */
#define TURN_NS 30e6
#define MOST_PASSES 1000

enum { PROTO, SRC, DST, SPORT, DPORT, FIELDS };

RTE_ACL_RULE_DEF(peer_rule, FIELDS);

/* In network order, as it would stand in a packet. */
struct header {
    uint8_t proto;
    uint8_t unused[3];
    uint32_t src;
    uint32_t dst;
    uint16_t sport;
    uint16_t dport;
};

static const struct rte_acl_field_def fields[FIELDS] = {
    /* The first field has to be one byte; later ones come in groups of four. */
    { RTE_ACL_FIELD_TYPE_BITMASK, 1, PROTO, 0, offsetof(struct header, proto) },
    { RTE_ACL_FIELD_TYPE_MASK, 4, SRC, 1, offsetof(struct header, src) },
    { RTE_ACL_FIELD_TYPE_MASK, 4, DST, 2, offsetof(struct header, dst) },
    { RTE_ACL_FIELD_TYPE_RANGE, 2, SPORT, 3, offsetof(struct header, sport) },
    { RTE_ACL_FIELD_TYPE_RANGE, 2, DPORT, 3, offsetof(struct header, dport) },
};

struct load {
    struct peer_rule *rules;
    uint32_t rule_count;
    struct header *headers;
    uint32_t *answers;
    uint32_t header_count;
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "rte-acl-peer: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

/* Of this thread: stands still while others have the processor. */
static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

/* An array with room for one more. */
static void *grown(void *items, uint32_t count, size_t size)
{
    if (count >= MOST)
        fail("more than %u lines of a kind", MOST);
    /* Room doubles whenever the count is a power of two. */
    if (count & (count - 1))
        return items;
    items = realloc(items, (count ? 2 * (size_t)count : 1) * size);
    if (items == NULL)
        fail("no memory for %" PRIu32 " lines", count);
    return items;
}

static void read_rule(struct load *load, const char *line, unsigned long number)
{
    uint32_t src, src_len, dst, dst_len, sport[2], dport[2], proto, mask;
    struct peer_rule *rule;

    if (sscanf(line, "R %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32
               " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, &src, &src_len, &dst, &dst_len,
               &sport[0], &sport[1], &dport[0], &dport[1], &proto, &mask) != 10)
        fail("line %lu: not a rule", number);
    load->rules = grown(load->rules, load->rule_count, sizeof(*load->rules));
    rule = &load->rules[load->rule_count++];
    memset(rule, 0, sizeof(*rule));
    rule->data.category_mask = 1;
    rule->data.userdata = load->rule_count;
    rule->field[PROTO].value.u8 = proto;
    rule->field[PROTO].mask_range.u8 = mask;
    rule->field[SRC].value.u32 = src;
    rule->field[SRC].mask_range.u32 = src_len;
    rule->field[DST].value.u32 = dst;
    rule->field[DST].mask_range.u32 = dst_len;
    rule->field[SPORT].value.u16 = sport[0];
    rule->field[SPORT].mask_range.u16 = sport[1];
    rule->field[DPORT].value.u16 = dport[0];
    rule->field[DPORT].mask_range.u16 = dport[1];
}

static void read_header(struct load *load, const char *line, unsigned long number)
{
    uint32_t src, dst, sport, dport, proto, answer;
    struct header *header;

    if (sscanf(line, "H %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32,
               &src, &dst, &sport, &dport, &proto, &answer) != 6)
        fail("line %lu: not a header", number);
    load->headers = grown(load->headers, load->header_count, sizeof(*load->headers));
    load->answers = grown(load->answers, load->header_count, sizeof(*load->answers));
    load->answers[load->header_count] = answer;
    header = &load->headers[load->header_count++];
    memset(header, 0, sizeof(*header));
    header->proto = proto;
    header->src = rte_cpu_to_be_32(src);
    header->dst = rte_cpu_to_be_32(dst);
    header->sport = rte_cpu_to_be_16(sport);
    header->dport = rte_cpu_to_be_16(dport);
}

static void read_load(struct load *load, const char *path)
{
    unsigned long number = 0;
    char line[256];
    uint32_t i;
    FILE *file = fopen(path, "r");

    if (file == NULL)
        fail("opening %s: %s", path, strerror(errno));
    while (fgets(line, sizeof(line), file)) {
        number++;
        if (line[0] == 'R')
            read_rule(load, line, number);
        else if (line[0] == 'H')
            read_header(load, line, number);
        else
            fail("%s, line %lu: neither rule nor header", path, number);
    }
    if (ferror(file))
        fail("reading %s: %s", path, strerror(errno));
    fclose(file);
    if (load->rule_count == 0 || load->header_count == 0)
        fail("%s: no rules or no headers", path);
    /* A larger priority wins here. */
    for (i = 0; i < load->rule_count; i++)
        load->rules[i].data.priority = load->rule_count - i;
}

static void start_eal(const char *cpu, const char *megabytes)
{
    /* As an ordinary process: no huge pages, no devices, no files left behind. */
    const char *arguments[] = {
        "rte-acl-peer", "-l", cpu, "-m", megabytes, "--no-huge", "--no-pci", "--no-shconf",
        "--no-telemetry", "--log-level", "error", "--force-max-simd-bitwidth", "512",
    };
    int count = RTE_DIM(arguments);

    if (rte_eal_init(count, (char **)arguments) < 0)
        fail("starting DPDK: %s", rte_strerror(rte_errno));
}

static struct rte_acl_ctx *build(const struct load *load, double *build_ms)
{
    struct rte_acl_param param = {
        .name = "peer",
        .socket_id = -1,
        .rule_size = RTE_ACL_RULE_SZ(FIELDS),
        .max_rule_num = load->rule_count,
    };
    struct rte_acl_config config = { .num_categories = 1, .num_fields = FIELDS };
    struct rte_acl_ctx *context;
    double start = now_ns();
    int error;

    memcpy(config.defs, fields, sizeof(fields));
    context = rte_acl_create(&param);
    if (context == NULL)
        fail("rte_acl_create: %s", rte_strerror(rte_errno));
    error = rte_acl_add_rules(context, (const struct rte_acl_rule *)load->rules, load->rule_count);
    if (error)
        fail("rte_acl_add_rules: %s", rte_strerror(-error));
    error = rte_acl_build(context, &config);
    if (error)
        fail("rte_acl_build: %s", rte_strerror(-error));
    *build_ms = (now_ns() - start) / 1e6;
    return context;
}

/* The widest method that this processor has. */
static const char *choose_method(struct rte_acl_ctx *context)
{
    static const struct {
        enum rte_acl_classify_alg method;
        const char *name;
    } methods[] = {
        { RTE_ACL_CLASSIFY_AVX512X32, "AVX-512x32" }, { RTE_ACL_CLASSIFY_AVX512X16, "AVX-512x16" },
        { RTE_ACL_CLASSIFY_AVX2, "AVX2" },            { RTE_ACL_CLASSIFY_SSE, "SSE" },
        { RTE_ACL_CLASSIFY_NEON, "NEON" },            { RTE_ACL_CLASSIFY_SCALAR, "scalar" },
    };
    size_t i;

    for (i = 0; i < RTE_DIM(methods); i++)
        if (rte_acl_set_ctx_classify(context, methods[i].method) == 0)
            return methods[i].name;
    fail("no method of classification works here");
}

/* Asks about every header; counts wrong answers if told to. */
static uint32_t pass(const struct rte_acl_ctx *context, const struct load *load,
                     const uint8_t **data, int check)
{
    uint32_t results[BURST], wrong = 0, start, i;

    for (start = 0; start < load->header_count; start += BURST) {
        uint32_t count = RTE_MIN(BURST, load->header_count - start);
        int error = rte_acl_classify(context, data + start, results, count, 1);

        if (error)
            fail("rte_acl_classify: %s", rte_strerror(-error));
        for (i = 0; check && i < count; i++)
            wrong += results[i] != load->answers[start + i];
    }
    return wrong;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Passes for TURN_NS, like those of other engines; the median of the nanoseconds per header. */
static double turn(const struct rte_acl_ctx *context, const struct load *load,
                   const uint8_t **data)
{
    double passes[MOST_PASSES], begun = now_ns(), start = begun;
    size_t count = 0;

    while (count == 0 || (count < MOST_PASSES && start < begun + TURN_NS)) {
        double end;

        pass(context, load, data, 0);
        end = now_ns();
        passes[count++] = (end - start) / load->header_count;
        start = end;
    }
    qsort(passes, count, sizeof(passes[0]), by_size);
    return passes[count / 2];
}

int main(int argc, char **argv)
{
    struct load load = { 0 };
    struct rte_acl_ctx *context;
    const uint8_t **data;
    const char *method;
    double build_ms;
    uint32_t i, wrong;
    int c;

    if (argc != 4)
        fail("usage: rte-acl-peer FILE CPU MEGABYTES");
    read_load(&load, argv[1]);
    start_eal(argv[2], argv[3]);
    context = build(&load, &build_ms);
    method = choose_method(context);
    data = calloc(load.header_count, sizeof(*data));
    if (data == NULL)
        fail("no memory for %" PRIu32 " headers", load.header_count);
    for (i = 0; i < load.header_count; i++)
        data[i] = (const uint8_t *)&load.headers[i];
    wrong = pass(context, &load, data, 1);
    printf("ready %s %.1f %" PRIu32 "\n", method, build_ms, wrong);
    fflush(stdout);
    while ((c = getchar()) != EOF) {
        if (c != '\n')
            continue;
        /* Once to warm up: other engines ran meanwhile. */
        pass(context, &load, data, 0);
        printf("%.2f\n", turn(context, &load, data));
        fflush(stdout);
    }
    rte_acl_free(context);
    rte_eal_cleanup();
    return 0;
}
