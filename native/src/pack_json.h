#ifndef CORECHAIN_PACK_JSON_H
#define CORECHAIN_PACK_JSON_H
#include <stddef.h>
#include <stdint.h>

/* What a body declares besides its reports, one entry a report. */
typedef struct {
    int64_t *chains;         /* -1: none */
    uint8_t *registries;     /* 20 bytes each */
    uint8_t *has_registries; /* 0 or 1 */
} corechain_declared;

/* Packs a JSON body, one report or a list of them. Returns how many there are, each packed behind
 * the other in `packed` (`packed_length` bytes used), at most `room` of both reports and entries.
 *
 * -1 for whatever is not plainly good: this takes a part of what the reference takes
 * (corechain.protocol.report_json), with the same result, and leaves the rest to it.
 *
 * `metrics` is the vocabulary: code (2 bytes, big-endian), length of the name (1), name; repeated. */
int64_t corechain_pack_json(const uint8_t *body, size_t length, const uint8_t *metrics,
                            size_t metrics_length, uint8_t *packed, size_t packed_room,
                            size_t *packed_length, corechain_declared *declared, size_t room);

#endif
