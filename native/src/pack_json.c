#include "pack_json.h"

#include <string.h>

#include "bytes.h"
#include "cells.h"

#define HEAD 30
#define OBSERVATION 19
#define SIGNATURE 64
#define OBSERVATIONS_MAX 1024
#define I32_ABOVE ((uint64_t)1 << 31)
#define U40_MAX (((uint64_t)1 << 40) - 1)

/* Half the order of secp256k1: the highest s. */
static const uint8_t HALF_ORDER[32] = {
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
};

typedef struct {
    const uint8_t *at, *end;
    const uint8_t *metrics, *metrics_end;
    uint8_t *out, *out_end;
} packer;

/* Every function below returns 1 when it has read what it is named after, 0 when it is unsure. */

static void skip_space(packer *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
        p->at++;
}

/* One character of the grammar, with space around it. */
static int mark(packer *p, uint8_t wanted) {
    skip_space(p);
    if (p->at == p->end || *p->at != wanted) return 0;
    p->at++;
    skip_space(p);
    return 1;
}

/* A string of printable ASCII without an escape. */
static int text(packer *p, const uint8_t **from, size_t *length) {
    if (p->at == p->end || *p->at != '"') return 0;
    for (*from = ++p->at; p->at < p->end && *p->at != '"'; p->at++)
        if (*p->at < 0x20 || *p->at > 0x7e || *p->at == '\\') return 0;
    if (p->at == p->end) return 0;
    *length = (size_t)(p->at++ - *from);
    return 1;
}

/* Digits without a leading zero; what follows them is the caller's business. */
static int whole(packer *p, uint64_t most, uint64_t *value) {
    const uint8_t *first = p->at;
    uint64_t found = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        uint64_t digit = (uint64_t)(*p->at - '0');
        if (found > (most - digit) / 10 || digit > most) return 0;
        found = 10 * found + digit;
    }
    *value = found;
    return p->at > first && (*first != '0' || p->at == first + 1);
}

static int signed32(packer *p, uint32_t *bits) {
    uint64_t size;
    int negative = p->at < p->end && *p->at == '-';
    p->at += negative;
    if (!whole(p, negative ? I32_ABOVE : I32_ABOVE - 1, &size)) return 0;
    *bits = (uint32_t)(negative ? 0 - size : size);
    /* Minus zero is a number that not every decoder makes an integer of. */
    return !negative || size;
}

/* 0 to 15, above that no digit. */
static uint8_t nibble(uint8_t letter) {
    if (letter >= '0' && letter <= '9') return (uint8_t)(letter - '0');
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? (uint8_t)(letter - 'a' + 10) : 16;
}

static int hex_bytes(const uint8_t *digits, size_t size, uint8_t *to) {
    uint8_t wrong = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t high = nibble(digits[2 * i]), low = nibble(digits[2 * i + 1]);
        wrong |= high | low;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return wrong < 16;
}

/* "0x" and the digits of one of two sizes (in bytes). */
static int hexadecimal(packer *p, size_t size, size_t other, uint8_t *to, size_t *found) {
    const uint8_t *from;
    size_t length;
    if (!text(p, &from, &length) || length < 2 || from[0] != '0' || from[1] != 'x') return 0;
    *found = (length - 2) / 2;
    return (length == 2 + 2 * size || length == 2 + 2 * other) && hex_bytes(from + 2, *found, to);
}

static int address(packer *p, uint8_t *to) {
    size_t found;
    return hexadecimal(p, 20, 20, to, &found);
}

/* 64 bytes; from 65 (r, s, v) what corechain.protocol.signature.compact_signature makes of them. */
static int signature(packer *p, uint8_t *to) {
    uint8_t given[65];
    size_t found;
    if (!hexadecimal(p, 64, 65, given, &found)) return 0;
    if (found == 65) {
        if (given[64] != 27 && given[64] != 28) return 0;
        if (memcmp(given + 32, HALF_ORDER, 32) > 0) return 0;
        given[32] |= given[64] == 28 ? 0x80 : 0;
    }
    memcpy(to, given, SIGNATURE);
    return 1;
}

static int cell(packer *p, uint64_t *index) {
    const uint8_t *from;
    size_t length;
    if (!text(p, &from, &length) || length < 15 || length > 16) return 0;
    *index = 0;
    for (size_t i = 0; i < length; i++) {
        uint8_t digit = nibble(from[i]);
        if (digit > 15 || (from[i] >= 'A' && from[i] <= 'F')) return 0;
        *index = *index << 4 | digit;
    }
    return corechain_is_cell(*index);
}

/* The code of a name, or of itself, where the vocabulary has it. */
static int metric(packer *p, uint64_t *code) {
    const uint8_t *name = NULL, *entry;
    size_t length = 0;
    int by_name = p->at < p->end && *p->at == '"';
    if (by_name ? !text(p, &name, &length) : !whole(p, 0xffff, code)) return 0;
    for (entry = p->metrics; p->metrics_end - entry >= 3; entry += 3 + entry[2]) {
        uint64_t known = big_endian(entry, 2);
        if (p->metrics_end - entry < 3 + entry[2]) return 0;
        if (by_name ? length == entry[2] && !memcmp(name, entry + 3, length) : known == *code) {
            *code = known;
            return 1;
        }
    }
    return 0;
}

/* Reads a key and its colon; gives its place among `keys`, each of which comes once at most. */
static int key(packer *p, const char *const *keys, unsigned *seen) {
    const uint8_t *from;
    size_t length;
    if (!text(p, &from, &length) || !mark(p, ':')) return -1;
    for (int i = 0; keys[i]; i++) {
        if (strlen(keys[i]) != length || memcmp(keys[i], from, length)) continue;
        if (*seen >> i & 1) return -1;
        *seen |= 1u << i;
        return i;
    }
    return -1;
}

static int observation(packer *p) {
    static const char *const keys[] = {"metric", "cell", "observed_at", "value", NULL};
    uint64_t code = 0, index = 0, at = 0;
    uint32_t value = 0;
    unsigned seen = 0;
    int good;
    if (!mark(p, '{')) return 0;
    do {
        switch (key(p, keys, &seen)) {
            case 0: good = metric(p, &code); break;
            case 1: good = cell(p, &index); break;
            case 2: good = whole(p, U40_MAX, &at); break;
            case 3: good = signed32(p, &value); break;
            default: good = 0;
        }
        if (!good) return 0;
    } while (mark(p, ','));
    if (!mark(p, '}') || seen != 15 || p->out_end - p->out < OBSERVATION) return 0;
    put_big_endian(p->out, code, 2);
    put_big_endian(p->out + 2, index, 8);
    put_big_endian(p->out + 10, at, 5);
    put_big_endian(p->out + 15, value, 4);
    p->out += OBSERVATION;
    return 1;
}

static int observations(packer *p, uint64_t *count) {
    if (!mark(p, '[')) return 0;
    *count = 0;
    do {
        if (++*count > OBSERVATIONS_MAX || !observation(p)) return 0;
    } while (mark(p, ','));
    return mark(p, ']');
}

static int report(packer *p, int64_t *chain, uint8_t *registry, uint8_t *has_registry) {
    static const char *const keys[] = {"device",   "sequence", "observations", "signature",
                                       "chain_id", "registry", NULL};
    uint8_t *head = p->out, signed_by[SIGNATURE];
    uint64_t sequence = 0, count = 0, number = 0;
    unsigned seen = 0;
    int good;
    if (p->out_end - p->out < HEAD || !mark(p, '{')) return 0;
    p->out += HEAD;
    do {
        switch (key(p, keys, &seen)) {
            case 0: good = address(p, head); break;
            case 1: good = whole(p, UINT64_MAX, &sequence); break;
            case 2: good = observations(p, &count); break;
            case 3: good = signature(p, signed_by); break;
            case 4: good = whole(p, INT64_MAX, &number); break;
            case 5: good = address(p, registry); break;
            default: good = 0;
        }
        if (!good) return 0;
    } while (mark(p, ','));
    if (!mark(p, '}') || (seen & 15) != 15 || p->out_end - p->out < SIGNATURE) return 0;
    put_big_endian(head + 20, sequence, 8);
    put_big_endian(head + 28, count, 2);
    memcpy(p->out, signed_by, SIGNATURE);
    p->out += SIGNATURE;
    *chain = seen & 16 ? (int64_t)number : -1;
    *has_registry = seen >> 5 & 1;
    return 1;
}

int64_t corechain_pack_json(const uint8_t *body, size_t length, const uint8_t *metrics,
                            size_t metrics_length, uint8_t *packed, size_t packed_room,
                            size_t *packed_length, corechain_declared *declared, size_t room) {
    packer p = {body, body + length, metrics, metrics + metrics_length, packed,
                packed + packed_room};
    size_t count = 0;
    int is_list = mark(&p, '[');
    do {
        if (count == room) return -1;
        if (!report(&p, &declared->chains[count], declared->registries + 20 * count,
                    &declared->has_registries[count]))
            return -1;
        count++;
    } while (is_list && mark(&p, ','));
    if ((is_list && !mark(&p, ']')) || p.at != p.end) return -1;
    *packed_length = (size_t)(p.out - packed);
    return (int64_t)count;
}
