#ifndef CORECHAIN_PAGES_H
#define CORECHAIN_PAGES_H
#include <stddef.h>
#include <stdint.h>

/* A page of a device's readings as JSON, from arrays as Postgres sends them (array_send): a header,
 * then each element behind its length, all numbers big-endian. */

/* All arrays have as many elements. `places`: the metric and, in the low 40 bits, the second;
 * `values`: the value and, in the low 8 bits, the flag. `positions` are of 32 bits, the others of 64. */
typedef struct {
    const uint8_t *places, *batches, *positions, *values, *cells;
    size_t places_size, batches_size, positions_size, values_size, cells_size;
} corechain_page;

/* How sure each of `count` batches is: its id, in ascending order, and the place of its word among
 * words of 16 bytes, which end with zeros. */
typedef struct {
    const int64_t *batches;
    const uint8_t *word_of;
    size_t count;
    const char *words;
} corechain_finality;

/* The first `count` readings, with commas between; `device` and `end` are what each says between its
 * cell and its time, and behind its finality. The bytes written, or -1 where there is no room, an
 * array is none of these, or a batch is not among those of `finality`. */
int64_t corechain_page_json(const corechain_page *page, size_t count,
                            const corechain_finality *finality, const uint8_t *device,
                            size_t device_size, const uint8_t *end, size_t end_size, uint8_t *out,
                            size_t room);

#endif
