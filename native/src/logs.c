#include "logs.h"

#include <string.h>

#define TOPICS_MAX 4
#define WORD 32
/* What a database keeps as numbers of blocks and of logs in them (corechain.service.words). */
#define LARGEST_BLOCK ((uint64_t)INT64_MAX)
#define LARGEST_INDEX ((uint64_t)INT32_MAX)

typedef struct {
    const uint8_t *at, *end;
    uint8_t *heap;
    size_t used, room;
} reader;

/* Every function below returns 1 when it has read what it is named after, 0 when it is unsure. */

static void skip_space(reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

/* One character of the grammar, with space around it. */
static int mark(reader *r, uint8_t wanted) {
    skip_space(r);
    if (r->at == r->end || *r->at != wanted) return 0;
    r->at++;
    skip_space(r);
    return 1;
}

/* A string of printable ASCII without an escape. */
static int text(reader *r, const uint8_t **from, size_t *length) {
    if (r->at == r->end || *r->at != '"') return 0;
    for (*from = ++r->at; r->at < r->end && *r->at != '"'; r->at++)
        if (*r->at < 0x20 || *r->at > 0x7e || *r->at == '\\') return 0;
    if (r->at == r->end) return 0;
    *length = (size_t)(r->at++ - *from);
    return 1;
}

static int literal(reader *r, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length)) return 0;
    r->at += length;
    return 1;
}

/* Without a branch or a table, so that the compiler makes vectors of it: an answer is mostly digits. */
static int hex_bytes(const uint8_t *restrict digits, size_t size, uint8_t *restrict to) {
    uint8_t wrong = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t one = digits[2 * i], two = digits[2 * i + 1];
        uint8_t high = (uint8_t)(one - '0'), low = (uint8_t)(two - '0');
        uint8_t high_letter = (uint8_t)((one | 0x20) - 'a'), low_letter = (uint8_t)((two | 0x20) - 'a');
        wrong |= (high > 9) & (high_letter > 5);
        wrong |= (low > 9) & (low_letter > 5);
        high = high > 9 ? (uint8_t)(high_letter + 10) : high;
        low = low > 9 ? (uint8_t)(low_letter + 10) : low;
        to[i] = (uint8_t)(high << 4 | (low & 15));
    }
    return !wrong;
}

/* "0x" and the digits of so many bytes: what a fixed field is. */
static int octets(reader *r, size_t size, uint8_t *to) {
    const uint8_t *from = r->at;
    if ((size_t)(r->end - from) < 2 * size + 4) return 0;
    if (from[0] != '"' || from[1] != '0' || from[2] != 'x' || from[2 * size + 3] != '"') return 0;
    r->at += 2 * size + 4;
    return hex_bytes(from + 3, size, to);
}

/* "0x" and up to 16 digits. */
static int quantity(reader *r, uint64_t largest, uint64_t *value) {
    const uint8_t *from;
    size_t length;
    if (!text(r, &from, &length) || length < 3 || length > 18) return 0;
    if (from[0] != '0' || from[1] != 'x') return 0;
    *value = 0;
    for (size_t i = 2; i < length; i++) {
        uint8_t digit = (uint8_t)(from[i] - '0'), letter = (uint8_t)((from[i] | 0x20) - 'a');
        if (digit > 9 && letter > 5) return 0;
        *value = *value << 4 | (digit > 9 ? (uint8_t)(letter + 10) : digit);
    }
    return *value <= largest;
}

static int topics(reader *r, corechain_log *log, uint8_t to[TOPICS_MAX * WORD]) {
    log->topics = 0;
    if (!mark(r, '[')) return 0;
    if (mark(r, ']')) return 1;
    do {
        if (log->topics == TOPICS_MAX || !octets(r, WORD, to + WORD * log->topics)) return 0;
        log->topics++;
    } while (mark(r, ','));
    return mark(r, ']');
}

/* The digits, to be read when the topics before them are known to be there. */
static int data(reader *r, const uint8_t **digits, size_t *size) {
    const uint8_t *from = r->at, *quote;
    if (r->end - from < 4 || from[0] != '"' || from[1] != '0' || from[2] != 'x') return 0;
    quote = memchr(from + 3, '"', (size_t)(r->end - from - 3));
    if (!quote || (quote - from - 3) % 2) return 0;
    *digits = from + 3;
    *size = (size_t)(quote - from - 3) / 2;
    r->at = quote + 1;
    return 1;
}

/* A field that nobody asked for. Numbers and what is nested are left to the reference. */
static int other(reader *r) {
    const uint8_t *from;
    size_t length;
    return text(r, &from, &length) || literal(r, "null") || literal(r, "true") ||
           literal(r, "false");
}

enum { ADDRESS, TOPICS, DATA, NUMBER, HASH, TRANSACTION, INDEX, REMOVED, KEYS };
#define NEEDED ((1u << REMOVED) - 1)

/* The place of a key among those that are read, KEYS for another one, -1 for no key. */
static int key(reader *r, unsigned *seen) {
    static const char *const keys[KEYS] = {"address",   "topics",          "data",     "blockNumber",
                                           "blockHash", "transactionHash", "logIndex", "removed"};
    static const uint8_t lengths[KEYS] = {7, 6, 4, 11, 9, 15, 8, 7};
    const uint8_t *from;
    size_t length;
    if (!text(r, &from, &length) || !mark(r, ':')) return -1;
    for (int i = 0; i < KEYS; i++) {
        if (lengths[i] != length || memcmp(keys[i], from, length)) continue;
        if (*seen >> i & 1) return -1;
        *seen |= 1u << i;
        return i;
    }
    return KEYS;
}

static int field(reader *r, int which, corechain_log *log, uint8_t *words, const uint8_t **digits,
                 size_t *size) {
    uint64_t number = 0;
    int good;
    switch (which) {
        case ADDRESS: return octets(r, sizeof log->address, log->address);
        case TOPICS: return topics(r, log, words);
        case DATA: return data(r, digits, size);
        case NUMBER: return quantity(r, LARGEST_BLOCK, &log->block_number);
        case HASH: return octets(r, WORD, log->block_hash);
        case TRANSACTION: return octets(r, WORD, log->transaction);
        case INDEX:
            good = quantity(r, LARGEST_INDEX, &number);
            log->index = (uint32_t)number;
            return good;
        case REMOVED: return literal(r, "false");
        case KEYS: return other(r);
        default: return 0;
    }
}

/* Topics and data, one behind the other. */
static int keep(reader *r, corechain_log *log, const uint8_t *words, const uint8_t *digits,
                size_t size) {
    size_t before = WORD * log->topics;
    if (r->room - r->used < before || r->room - r->used - before < size) return 0;
    log->from = (uint32_t)r->used;
    log->data_size = (uint32_t)size;
    memcpy(r->heap + r->used, words, before);
    r->used += before + size;
    return hex_bytes(digits, size, r->heap + r->used - size);
}

static int read_log(reader *r, corechain_log *log) {
    uint8_t words[TOPICS_MAX * WORD];
    const uint8_t *digits = NULL;
    size_t size = 0;
    unsigned seen = 0;
    if (!mark(r, '{')) return 0;
    do {
        if (!field(r, key(r, &seen), log, words, &digits, &size)) return 0;
    } while (mark(r, ','));
    if (!mark(r, '}') || (seen & NEEDED) != NEEDED) return 0;
    return keep(r, log, words, digits, size);
}

int64_t corechain_read_logs(const uint8_t *body, size_t length, corechain_log *logs, size_t room,
                            uint8_t *heap, size_t heap_room) {
    reader r = {body, body + length, heap, 0, heap_room};
    size_t count = 0;
    if (heap_room > UINT32_MAX || !mark(&r, '[')) return -1;
    if (!mark(&r, ']')) {
        do {
            if (count == room || !read_log(&r, &logs[count])) return -1;
            count++;
        } while (mark(&r, ','));
        if (!mark(&r, ']')) return -1;
    }
    return r.at == r.end ? (int64_t)count : -1;
}

static int is_among(const uint8_t *address, const uint8_t *addresses, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!memcmp(address, addresses + 20 * i, 20)) return 1;
    return !count;
}

int corechain_logs_fit(const corechain_log *logs, size_t count, const uint8_t *addresses,
                       size_t contracts, uint64_t first, uint64_t last) {
    for (size_t i = 0; i < count; i++) {
        const corechain_log *log = &logs[i], *before = log - 1;
        if (log->block_number < first || log->block_number > last) return 0;
        if (!is_among(log->address, addresses, contracts)) return 0;
        if (!i || log->block_number > before->block_number) continue;
        if (log->block_number < before->block_number || log->index <= before->index) return 0;
        if (memcmp(log->block_hash, before->block_hash, WORD)) return 0;
    }
    return 1;
}

size_t corechain_leading_logs(const corechain_log *logs, size_t count, uint32_t *places) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const corechain_log *log = &logs[i], *before = log - 1;
        if (i && log->block_number == before->block_number &&
            !memcmp(log->address, before->address, sizeof log->address))
            continue;
        places[found++] = (uint32_t)i;
    }
    return found;
}
