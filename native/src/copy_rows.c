#include "copy_rows.h"

#include <string.h>

#include "bytes.h"

#define NOT_OURS 255
#define ODD 254
#define WORD 32
#define BASE 10000
/* Groups of four digits that 128 bits take. */
#define GROUPS_MAX 10
#define NUMERIC_MAX (8 + 2 * GROUPS_MAX)

enum { NOTHING, CONSTANT, BYTES, BYTES_UNLESS_ZERO, NUMERIC };

static const uint8_t HEADER[19] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n'};

typedef struct {
    uint8_t *at, *end;
} writer;

/* Every function that writes returns 0 where there is no room. */

static int bytes(writer *w, const uint8_t *from, size_t size) {
    if ((size_t)(w->end - w->at) < size) return 0;
    memcpy(w->at, from, size);
    w->at += size;
    return 1;
}

static int number(writer *w, uint64_t value, int size) {
    if (w->end - w->at < size) return 0;
    put_big_endian(w->at, value, size);
    w->at += size;
    return 1;
}

static int sized(writer *w, const uint8_t *from, size_t size) {
    return number(w, size, 4) && bytes(w, from, size);
}

static int null(writer *w) { return number(w, UINT32_MAX, 4); }

static int place(writer *w, const corechain_log *log, size_t fields) {
    return number(w, fields, 2) && number(w, 8, 4) && number(w, log->block_number, 8) &&
           number(w, 4, 4) && number(w, log->index, 4);
}

static int is_zero(const uint8_t *from, size_t size) {
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) any |= from[i];
    return !any;
}

/* 16 bytes as a numeric: how many groups of four digits, the weight of the first, sign, digits behind
 * the point, then the groups. */
static int numeric(writer *w, const uint8_t *from) {
    uint32_t limbs[4];
    uint16_t groups[GROUPS_MAX];
    int count = 0, top = 0;
    for (int i = 0; i < 4; i++) limbs[i] = (uint32_t)big_endian(from + 4 * i, 4);
    while (top < 4) {
        uint64_t rest = 0;
        if (!limbs[top]) {
            top++;
            continue;
        }
        for (int i = top; i < 4; i++) {
            rest = rest << 32 | limbs[i];
            limbs[i] = (uint32_t)(rest / BASE);
            rest %= BASE;
        }
        groups[count++] = (uint16_t)rest;
    }
    if (w->end - w->at < 4 + NUMERIC_MAX) return 0;
    number(w, 8 + 2 * (uint64_t)count, 4);
    number(w, (uint64_t)count, 2);
    number(w, count ? (uint64_t)count - 1 : 0, 2);
    number(w, 0, 4);
    while (count) number(w, groups[--count], 2);
    return 1;
}

static int field(writer *w, const corechain_field *f, const uint8_t *words,
                 const uint8_t *constants) {
    switch (f->how) {
        case CONSTANT: return sized(w, constants + f->from, f->size);
        case BYTES: return sized(w, words + f->from, f->size);
        case BYTES_UNLESS_ZERO:
            return is_zero(words + f->from, f->size) ? null(w) : sized(w, words + f->from, f->size);
        case NUMERIC: return numeric(w, words + f->from);
        default: return null(w);
    }
}

static int header(writer *w) { return bytes(w, HEADER, sizeof HEADER); }

static int trailer(writer *w) { return number(w, UINT16_MAX, 2); }

static int has_shape(const corechain_log *log, const corechain_kind *kind, const uint8_t *words,
                     const uint8_t *mask) {
    uint8_t dirty = 0;
    if (kind->size == UINT32_MAX) return 1;
    if (log->topics != 1 + kind->topics) return 0;
    if ((uint64_t)WORD * kind->topics + log->data_size != kind->size) return 0;
    for (uint32_t i = 0; i < kind->size; i++) dirty |= words[i] & mask[i];
    return !dirty;
}

void corechain_kinds_of(const corechain_log *logs, size_t count, const uint8_t *heap,
                        const corechain_kind *kinds, size_t kind_count, const uint8_t *masks,
                        uint8_t *of) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *topics = heap + logs[i].from;
        size_t k = 0;
        of[i] = NOT_OURS;
        if (!logs[i].topics) continue;
        while (k < kind_count && memcmp(kinds[k].topic, topics, WORD)) k++;
        if (k == kind_count) continue;
        of[i] = has_shape(&logs[i], &kinds[k], topics + WORD, masks + kinds[k].mask) ? (uint8_t)k : ODD;
    }
}

static int raw_row(writer *w, const corechain_log *log, const uint8_t *heap) {
    const uint8_t *topics = heap + log->from;
    size_t size = (size_t)WORD * log->topics;
    return place(w, log, 7) && sized(w, log->block_hash, sizeof log->block_hash) &&
           sized(w, log->transaction, sizeof log->transaction) &&
           sized(w, log->address, sizeof log->address) && sized(w, topics, size) &&
           sized(w, topics + size, log->data_size);
}

int64_t corechain_raw_rows(const corechain_log *logs, size_t count, const uint8_t *heap,
                           uint8_t *out, size_t room) {
    writer w = {out, out + room};
    if (!header(&w)) return -1;
    for (size_t i = 0; i < count; i++)
        if (!raw_row(&w, &logs[i], heap)) return -1;
    return trailer(&w) ? w.at - out : -1;
}

int64_t corechain_field_rows(const corechain_log *logs, size_t count, const uint8_t *heap,
                             const uint8_t *of, const int32_t *first, const corechain_field *fields,
                             size_t width, const uint8_t *constants, uint8_t *out, size_t room) {
    writer w = {out, out + room};
    if (!header(&w)) return -1;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *words = heap + logs[i].from + WORD;
        const corechain_field *one;
        if (of[i] >= ODD || first[of[i]] < 0) continue;
        one = fields + first[of[i]];
        if (!place(&w, &logs[i], 2 + width)) return -1;
        for (size_t n = 0; n < width; n++)
            if (!field(&w, one + n, words, constants)) return -1;
    }
    return trailer(&w) ? w.at - out : -1;
}
