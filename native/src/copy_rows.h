#ifndef CORECHAIN_COPY_ROWS_H
#define CORECHAIN_COPY_ROWS_H
#include <stddef.h>
#include <stdint.h>

#include "logs.h"

/* Rows of logs in the binary format of Postgres's COPY (its manual, "COPY", "Binary Format").
 *
 * The *words* of a log are its topics behind the first and its data: where all fields of its event
 * are static, each of them is at one place in them. */

/* Of an event: its topic0; topics behind that and bytes of all words, or UINT32_MAX bytes where its
 * shape is for the reference to judge; and where in `masks` the ones are that must be zero in them. */
typedef struct {
    uint8_t topic[32];
    uint32_t topics, size, mask;
} corechain_kind;

/* A field of a row: bytes of the words, or of `constants`. A number of the words whose bytes are
 * those of a column is bytes as well. */
typedef struct {
    uint32_t how, from, size;
} corechain_field;

/* Which kind each log is: a place in `kinds`; 255 where it is none of them, 254 where it has not its
 * shape. At most 254 kinds. */
void corechain_kinds_of(const corechain_log *logs, size_t count, const uint8_t *heap,
                        const corechain_kind *kinds, size_t kind_count, const uint8_t *masks,
                        uint8_t *of);

/* All logs as they are: block number, index, block hash, transaction, address, topics, data. The
 * bytes written, or -1 where there is no room. */
int64_t corechain_raw_rows(const corechain_log *logs, size_t count, const uint8_t *heap,
                           uint8_t *out, size_t room);

/* Of each log whose kind `of` has fields: block number, index, and `width` fields, which begin at
 * `first[kind]`; -1 there for none. The bytes written, or -1 where there is no room. */
int64_t corechain_field_rows(const corechain_log *logs, size_t count, const uint8_t *heap,
                             const uint8_t *of, const int32_t *first, const corechain_field *fields,
                             size_t width, const uint8_t *constants, uint8_t *out, size_t room);

#endif
