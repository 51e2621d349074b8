/* Throws nearly good bytes at the decoders, under AddressSanitizer and UBSan (make fuzz-decode).
 *
 *   fuzz_decode COUNT SEED
 *
 * Every input lies in a heap block of exactly its size, so that a byte read beyond it ends the
 * run. What a decoder takes is held against what must be true of it; the differences to the
 * Python reference are the business of tests/native and tests/protocol. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "copy_rows.h"
#include "keccak.h"
#include "keccak_rows.h"
#include "logs.h"
#include "pack_json.h"
#include "roots.h"

#ifndef ROOM
#define ROOM 8192
#endif
#define HEAD 30
#define OBSERVATION 19
#define SIGNATURE 64

static uint64_t state;

/* xorshift64* (Vigna 2016): the same inputs for the same seed, on any machine. */
static uint64_t chance(uint64_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1d >> 16) % below;
}

static void require(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

typedef struct {
    uint8_t bytes[ROOM];
    size_t length;
} input;

static void add(input *to, const void *bytes, size_t length) {
    if (length > ROOM - to->length) length = ROOM - to->length;
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static void add_text(input *to, const char *text) { add(to, text, strlen(text)); }

static void add_noise(input *to, size_t length) {
    for (; length; length--) {
        uint8_t byte = (uint8_t)chance(256);
        add(to, &byte, 1);
    }
}

/* ---------------------------------------------------------------- inputs */

static const uint16_t COUNTS[] = {1, 1, 1, 1, 2, 3, 20, 0, 1, 2, 1,
                                  1, 2, 1, 1, 1, 7, 1023, 1024, 1025, 0xffff};

static void packed_reports(input *to) {
    for (uint64_t left = chance(6); left; left--) {
        uint16_t says = COUNTS[chance(sizeof COUNTS / sizeof *COUNTS)];
        uint16_t has = chance(8) ? says : COUNTS[chance(9)];
        uint8_t count[2] = {(uint8_t)(says >> 8), (uint8_t)says};
        add_noise(to, 28);
        add(to, count, 2);
        add_noise(to, (size_t)OBSERVATION * (has > 64 ? chance(64) : has) + SIGNATURE);
    }
}

static void add_hex(input *to, size_t digits) {
    static const char letters[] = "0123456789abcdef";
    for (; digits; digits--) add(to, letters + chance(16), 1);
}

static void add_one_of(input *to, const char *const *choices, size_t count) {
    add_text(to, choices[chance(count)]);
}

/* Mostly one of the first, which are good. */
#define MOSTLY(to, good, choices) \
    add_one_of(to, choices, chance(12) ? good : sizeof choices / sizeof *choices)

static const char *const NUMBERS[] = {
    "0", "1", "7", "-1", "2147483647", "-2147483648", "2147483648", "1099511627775",
    "18446744073709551615", "18446744073709551616", "01", "-0", "1.5", "1e9", "null", "NaN"};
static const char *const NAMES[] = {"1", "\"co2\"", "\"air_temperature\"", "13", "99", "\"x\""};
static const char *const CELLS[] = {"\"872a1072bffffff\"", "\"0872a1072bffffff\"", "\"f\"",
                                    "\"8009fffffffffff\"", "\"872A1072BFFFFFF\""};
static const char *const SPACE[] = {"", "", "", " ", "\n", "\t ", "\r\n", "\v"};

static void add_key(input *to, const char *key, int *first) {
    if (!*first) add_text(to, ",");
    *first = 0;
    MOSTLY(to, 7, SPACE);
    add_text(to, "\"");
    add_text(to, key);
    add_text(to, chance(64) ? "\":" : "\" : ");
}

static void json_observation(input *to) {
    int first = 1;
    add_text(to, "{");
    for (unsigned turn = (unsigned)chance(4), i = 0; i < 4; i++) {
        if (!chance(200)) continue;
        switch ((turn + i) % 4) {
            case 0: add_key(to, "metric", &first); MOSTLY(to, 3, NAMES); break;
            case 1: add_key(to, "cell", &first); MOSTLY(to, 2, CELLS); break;
            case 2: add_key(to, "observed_at", &first); MOSTLY(to, 3, NUMBERS); break;
            default:
                add_key(to, "value", &first);
                MOSTLY(to, 6, NUMBERS);
        }
    }
    add_text(to, "}");
}

static void json_report(input *to) {
    int first = 1;
    add_text(to, "{");
    for (unsigned turn = (unsigned)chance(6), i = 0; i < 6; i++) {
        unsigned which = (turn + i) % 6;
        if (which >= 4 ? chance(3) : !chance(200)) continue;
        switch (which) {
            case 0: add_key(to, "device", &first); add_text(to, "\"0x"); add_hex(to, 40); break;
            case 1: add_key(to, "sequence", &first); MOSTLY(to, 3, NUMBERS); break;
            case 2:
                add_key(to, "observations", &first);
                add_text(to, "[");
                for (uint64_t left = 1 + chance(3); left; left--) {
                    json_observation(to);
                    if (left > 1) add_text(to, ",");
                }
                add_text(to, "]");
                break;
            case 3:
                add_key(to, "signature", &first);
                add_text(to, "\"0x");
                add_hex(to, 128);
                if (!chance(4)) add_text(to, chance(2) ? "1b" : "1c");
                break;
            case 4: add_key(to, "chain_id", &first); MOSTLY(to, 3, NUMBERS); break;
            default: add_key(to, "registry", &first); add_text(to, "\"0x"); add_hex(to, 40);
        }
        if (which == 0 || which == 3 || which == 5) add_text(to, "\"");
    }
    add_text(to, "}");
}

static void json_body(input *to) {
    uint64_t left = chance(4), is_list = chance(3) || left != 1;
    if (is_list) add_text(to, "[");
    for (; left; left--) {
        MOSTLY(to, 7, SPACE);
        json_report(to);
        if (left > 1) add_text(to, ",");
    }
    if (is_list) add_text(to, "]");
}

static const char *const QUANTITIES[] = {"\"0x1\"", "\"0x0f\"", "\"0x7fffffff\"", "\"0x80000000\"",
                                         "\"0x8000000000000000\"", "\"0x\"", "1", "\"0xg\""};
static const char *const OTHERS[] = {"null", "false", "\"0x0\"", "true", "7", "[]", "\"\\n\""};

static void json_hex(input *to, size_t digits) {
    add_text(to, "\"0x");
    add_hex(to, chance(60) ? digits : digits + 1);
    add_text(to, "\"");
}

static void json_log(input *to) {
    static const char *const keys[] = {"address",   "topics",          "data",     "blockNumber",
                                       "blockHash", "transactionHash", "logIndex", "removed",
                                       "blockTimestamp"};
    int first = 1;
    add_text(to, "{");
    for (unsigned turn = (unsigned)chance(9), i = 0; i < 9; i++) {
        unsigned which = (turn + i) % 9;
        if (which > 6 ? chance(2) : !chance(200)) continue;
        add_key(to, keys[which], &first);
        switch (which) {
            case 0: json_hex(to, 40); break;
            case 1:
                add_text(to, "[");
                for (uint64_t left = chance(chance(9) ? 5 : 7); left; left--) {
                    json_hex(to, 64);
                    if (left > 1) add_text(to, ",");
                }
                add_text(to, "]");
                break;
            case 2: json_hex(to, 2 * (size_t)chance(100)); break;
            case 3: case 6: MOSTLY(to, 2, QUANTITIES); break;
            case 7: add_text(to, chance(9) ? "false" : "true"); break;
            case 8: MOSTLY(to, 3, OTHERS); break;
            default: json_hex(to, 64);
        }
    }
    add_text(to, "}");
}

static void log_body(input *to) {
    add_text(to, "[");
    for (uint64_t left = chance(4); left; left--) {
        json_log(to);
        if (left > 1) add_text(to, ",");
    }
    add_text(to, "]");
}

static void mutate(input *it) {
    static const uint8_t marks[] = "\"\\{}[],:0129-.eE \n\xff\x80\0";
    for (uint64_t times = chance(2) * chance(4); times && it->length; times--) {
        size_t at = (size_t)chance(it->length), span = 1 + (size_t)chance(40);
        if (span > it->length - at) span = it->length - at;
        switch (chance(5)) {
            case 0: it->bytes[at] = (uint8_t)chance(256); break;
            case 1: it->bytes[at] = marks[chance(sizeof marks)]; break;
            case 2: it->length = at; break;
            case 3:
                memmove(it->bytes + at, it->bytes + at + span, it->length - at - span);
                it->length -= span;
                break;
            default: /* a piece twice */
                if (it->length + span > ROOM) break;
                memmove(it->bytes + at + span, it->bytes + at, it->length - at);
                it->length += span;
        }
    }
}

/* ---------------------------------------------------------------- targets */

static void *block(const void *from, size_t size) {
    void *copy = malloc(size ? size : 1);
    require(copy != NULL, "memory");
    if (from) memcpy(copy, from, size);
    /* malloc(1) for nothing: the sanitizer sees any byte that is used. */
    return copy;
}

static uint64_t decode_columns(const uint8_t *packed, size_t length) {
    uint64_t observations;
    int64_t reports = corechain_count_reports(packed, length, &observations);
    int64_t size = corechain_reports_size(packed, length, chance(8));
    require(size <= (int64_t)length, "reports lie within their bytes");
    if (reports < 0) return 0;
    size = corechain_reports_size(packed, length, (uint64_t)reports);
    require(size == (int64_t)length, "all reports take all bytes");
    size_t n = (size_t)reports, m = (size_t)observations;
    uint32_t *starts = block(NULL, 4 * (n + 1)), *firsts = block(NULL, 4 * (n + 1));
    uint8_t *devices = block(NULL, 20 * n), *digests = block(NULL, 8 * n);
    uint8_t *hashes = block(NULL, 26 * n);
    uint64_t *sequences = block(NULL, 8 * n), *cells = block(NULL, 8 * m);
    uint64_t *times = block(NULL, 8 * m);
    uint16_t *metrics = block(NULL, 2 * m);
    int32_t *values = block(NULL, 4 * m);
    corechain_fill_columns(packed, length, starts, firsts, devices, sequences, metrics, cells,
                           times, values);
    require(starts[n] == length && firsts[n] == m, "all bytes and observations are in columns");
    for (size_t i = 0; i < n; i++) {
        size_t size = starts[i + 1] - starts[i], count = firsts[i + 1] - firsts[i];
        require(count >= 1 && size == HEAD + count * OBSERVATION + SIGNATURE, "sizes");
        require(!memcmp(devices + 20 * i, packed + starts[i], 20), "devices");
    }
    for (size_t i = 0; i < m; i++) require(times[i] >> 40 == 0, "times have 40 bits");
    require(corechain_content_digests(packed, length, starts, n, digests) == 0, "digests");
    for (size_t i = 0; i < n; i++) require(digests[8 * i + 7] & 1, "no digest is zero");
    require(corechain_hash26_slices(packed, length, starts, n, hashes) == 0, "slices");
    for (size_t i = 0; i < n; i++) {
        uint8_t digest[32];
        corechain_keccak256(packed + starts[i], starts[i + 1] - starts[i], digest);
        require(!memcmp(digest, hashes + 26 * i, 26), "a slice hashes as alone");
    }
    free(starts), free(firsts), free(devices), free(digests), free(hashes), free(sequences);
    free(cells), free(times), free(metrics), free(values);
    return n > 0;
}

static const uint8_t VOCABULARY[] = "\0\1\17air_temperature\0\14\3co2";

static uint64_t decode_json(const uint8_t *body, size_t length) {
    size_t room = 1 + (size_t)chance(5), used = 0;
    /* Too small at times: that is refused too, and nothing is written behind the end. */
    size_t packed_room = chance(8) ? length : (size_t)chance(length + 1);
    uint8_t *packed = block(NULL, packed_room), *vocabulary = block(VOCABULARY, 24);
    corechain_declared declared = {block(NULL, 8 * room), block(NULL, 20 * room),
                                   block(NULL, room)};
    int64_t count = corechain_pack_json(body, length, vocabulary, 24, packed, packed_room, &used,
                                        &declared, room);
    if (count >= 0) {
        uint64_t observations;
        require(count > 0 && (size_t)count <= room && used <= packed_room, "room");
        require(corechain_count_reports(packed, used, &observations) == count, "JSON is packed");
        for (int64_t i = 0; i < count; i++)
            require(declared.chains[i] >= -1 && declared.has_registries[i] < 2, "declarations");
    }
    free(packed), free(vocabulary);
    free(declared.chains), free(declared.registries), free(declared.has_registries);
    return count > 0;
}

/* Rows of the logs: by kinds that some of their topics are, with every way to make a field. */
static void write_rows(const corechain_log *logs, size_t count, const uint8_t *heap) {
    size_t room = (size_t)chance(600);
    uint8_t *of = block(NULL, count), *out = block(NULL, room), *masks = block(NULL, 64);
    corechain_kind kinds[2] = {{{0}, 1, 64, 0}, {{0}, 0, UINT32_MAX, 0}};
    corechain_field fields[5] = {{0, 0, 0}, {1, 0, 3}, {2, 12, 20}, {3, 0, 64}, {4, 48, 16}};
    int32_t first[254];
    for (int i = 0; i < 254; i++) first[i] = i ? -1 : 0;
    memset(masks, (int)chance(2), 64);
    for (size_t i = 0; i < count && i < 2; i++)
        if (logs[i].topics) memcpy(kinds[i].topic, heap + logs[i].from, 32);
    corechain_kinds_of(logs, count, heap, kinds, 2, masks, of);
    int64_t raw = corechain_raw_rows(logs, count, heap, out, room);
    require(raw <= (int64_t)room && (raw < 0 || raw >= 21), "raw rows");
    int64_t made = corechain_field_rows(logs, count, heap, of, first, fields, 5,
                                        (const uint8_t *)"abc", out, room);
    require(made <= (int64_t)room && (made < 0 || made >= 21), "rows of fields");
    free(of), free(out), free(masks);
}

static uint64_t decode_logs(const uint8_t *body, size_t length) {
    size_t room = 1 + (size_t)chance(5), heap_room = chance(8) ? length / 2 : (size_t)chance(40);
    corechain_log *logs = block(NULL, room * sizeof *logs);
    uint8_t *heap = block(NULL, heap_room), address[20] = {0};
    int64_t count = corechain_read_logs(body, length, logs, room, heap, heap_room);
    for (int64_t i = 0; i < count; i++) {
        require(logs[i].topics <= 4 && logs[i].block_number <= INT64_MAX, "a log's numbers");
        require(logs[i].from + 32 * (size_t)logs[i].topics + logs[i].data_size <= heap_room, "heap");
    }
    if (count >= 0) {
        require((size_t)count <= room, "room for logs");
        int fit = corechain_logs_fit(logs, (size_t)count, address, 0, 0, UINT64_MAX);
        require(fit || count > 1, "one log has no order");
        uint32_t *places = block(NULL, 4 * (size_t)count);
        size_t leading = corechain_leading_logs(logs, (size_t)count, places);
        require(leading <= (size_t)count && !leading == !count, "leading logs");
        free(places);
        write_rows(logs, (size_t)count, heap);
    }
    free(logs), free(heap);
    return count > 0;
}

static void hash_trees(const uint8_t *bytes, size_t length) {
    size_t count = length / 40;
    if (!count) return;
    uint8_t *hashes = block(NULL, 26 * (count + 1)), *work = block(NULL, 42 * (count + 1));
    uint8_t root[26];
    corechain_hash26_rows(bytes, 40, 40, count, hashes, 26);
    corechain_statistics_root(bytes, hashes, count, work, root);
    size_t depth = 0;
    while (((size_t)1 << depth) < count) depth++;
    uint8_t *paths = block(NULL, count * (4 + 26 * depth)), again[26];
    uint8_t *levels = block(NULL, 26 * (2 * count + 2 * depth + 1));
    corechain_merkle_paths(hashes, count, depth, levels, paths, again);
    corechain_merkle_root(hashes, count, root);
    require(memcmp(root, again, 26) == 0, "paths and root are of one tree");
    free(hashes), free(work), free(paths), free(levels);
}

int main(int arguments, char **values) {
    uint64_t count = arguments > 1 ? strtoull(values[1], NULL, 10) : 1000000;
    uint64_t seed = arguments > 2 ? strtoull(values[2], NULL, 10) : 1;
    uint64_t taken_packed = 0, taken_json = 0, taken_logs = 0;
    state = seed * 0x9e3779b97f4a7c15 | 1;
    for (uint64_t i = 0; i < count; i++) {
        static input it;
        int is_json = (i & 3) == 1, is_logs = (i & 3) == 3;
        it.length = 0;
        if (!chance(50)) add_noise(&it, (size_t)chance(300));
        else if (is_json) json_body(&it);
        else if (is_logs) log_body(&it);
        else packed_reports(&it);
        mutate(&it);
        uint8_t *bytes = block(it.bytes, it.length);
        taken_json += is_json ? decode_json(bytes, it.length) : 0;
        taken_logs += is_logs ? decode_logs(bytes, it.length) : 0;
        taken_packed += i & 1 ? 0 : decode_columns(bytes, it.length);
        if (i % 16 == 0) hash_trees(bytes, it.length);
        free(bytes);
    }
    printf("%llu inputs, seed %llu: %llu packed and %llu JSON bodies, %llu lists of logs were good\n",
           (unsigned long long)count, (unsigned long long)seed, (unsigned long long)taken_packed,
           (unsigned long long)taken_json, (unsigned long long)taken_logs);
    fflush(stdout);
    require(count < 1000 || (taken_packed > count / 50 && taken_json > count / 400 &&
                             taken_logs > count / 50), "the mix");
    return 0;
}
