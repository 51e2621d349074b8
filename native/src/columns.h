#ifndef CORECHAIN_COLUMNS_H
#define CORECHAIN_COLUMNS_H
#include <stddef.h>
#include <stdint.h>

/* How many packed reports there are, and in *observations how many observations they hold; -1 for
 * what corechain.protocol.frame.columns_of refuses, and for more than 32-bit offsets reach. */
int64_t corechain_count_reports(const uint8_t *packed, size_t length, uint64_t *observations);

/* How many of these bytes the first `reports` packed reports take; -1 where the reference refuses
 * one of them. */
int64_t corechain_reports_size(const uint8_t *packed, size_t length, uint64_t reports);

/* Fills the columns of packed reports that corechain_count_reports has counted: `starts` and
 * `firsts` have one entry more than reports, `devices` 20 bytes a report, `sequences` one entry a
 * report, the others one an observation. */
void corechain_fill_columns(const uint8_t *packed, size_t length, uint32_t *starts,
                            uint32_t *firsts, uint8_t *devices, uint64_t *sequences,
                            uint16_t *metrics, uint64_t *cells, uint64_t *times, int32_t *values);

/* 8 bytes a report that tell reports of one sequence apart: BLAKE2b-64 of the report without its
 * signature, its last bit set. `starts` (count + 1) as corechain_fill_columns fills it: -1, and
 * nothing done, where they cannot be those of these bytes; else 0. */
int corechain_content_digests(const uint8_t *packed, size_t length, const uint32_t *starts,
                              size_t count, uint8_t *digests);

#endif
