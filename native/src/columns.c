#include "columns.h"

#include <string.h>

#include "blake2b.h"
#include "bytes.h"

#define HEAD 30
#define OBSERVATION 19
#define SIGNATURE 64
#define OBSERVATIONS_MAX 1024
#define DIGEST 8

/* The bytes of the report that begins here, of `left`; 0 where there is none. */
static size_t report_size(const uint8_t *report, size_t left, size_t *count) {
    size_t size;
    if (left < HEAD) return 0;
    *count = (size_t)big_endian(report + 28, 2);
    if (*count < 1 || *count > OBSERVATIONS_MAX) return 0;
    size = HEAD + *count * OBSERVATION + SIGNATURE;
    return size <= left ? size : 0;
}

int64_t corechain_count_reports(const uint8_t *packed, size_t length, uint64_t *observations) {
    int64_t reports = 0;
    *observations = 0;
    if (length > UINT32_MAX) return -1;
    for (size_t at = 0; at < length; reports++) {
        size_t count, size = report_size(packed + at, length - at, &count);
        if (!size) return -1;
        at += size;
        *observations += count;
    }
    return reports;
}

int64_t corechain_reports_size(const uint8_t *packed, size_t length, uint64_t reports) {
    size_t at = 0;
    for (uint64_t i = 0; i < reports; i++) {
        size_t count, size = report_size(packed + at, length - at, &count);
        if (!size) return -1;
        at += size;
    }
    return (int64_t)at;
}

void corechain_fill_columns(const uint8_t *packed, size_t length, uint32_t *starts,
                            uint32_t *firsts, uint8_t *devices, uint64_t *sequences,
                            uint16_t *metrics, uint64_t *cells, uint64_t *times, int32_t *values) {
    size_t report = 0, observation = 0, count, size;
    starts[0] = firsts[0] = 0;
    for (size_t at = 0; at < length; at += size) {
        const uint8_t *from = packed + at, *item = from + HEAD;
        size = report_size(from, length - at, &count);
        /* Cannot be after corechain_count_reports; a buffer that changed meanwhile ends it here. */
        if (!size) return;
        memcpy(devices + 20 * report, from, 20);
        sequences[report] = big_endian(from + 20, 8);
        for (size_t i = 0; i < count; i++, observation++, item += OBSERVATION) {
            metrics[observation] = (uint16_t)big_endian(item, 2);
            cells[observation] = big_endian(item + 2, 8);
            times[observation] = big_endian(item + 10, 5);
            values[observation] = (int32_t)(uint32_t)big_endian(item + 15, 4);
        }
        report++;
        starts[report] = (uint32_t)(at + size);
        firsts[report] = (uint32_t)observation;
    }
}

int corechain_content_digests(const uint8_t *packed, size_t length, const uint32_t *starts,
                              size_t count, uint8_t *digests) {
    for (size_t i = 0; i < count; i++)
        if (starts[i + 1] < starts[i] || starts[i + 1] - starts[i] < SIGNATURE) return -1;
    if (starts[count] > length) return -1;
    for (size_t i = 0; i < count; i++) {
        size_t size = starts[i + 1] - starts[i] - SIGNATURE;
        corechain_blake2b(packed + starts[i], size, digests + DIGEST * i, DIGEST);
        /* Zero says "not known" to who stores them. */
        digests[DIGEST * i + DIGEST - 1] |= 1;
    }
    return 0;
}
