#ifndef CORECHAIN_KECCAK_ROWS_H
#define CORECHAIN_KECCAK_ROWS_H
#include <stddef.h>
#include <stdint.h>

/* The first `hash_size` bytes (32 at most) of keccak-256 of each of `count` rows of `size` bytes,
 * which begin `stride` bytes after each other; row i goes to hashes + hash_stride * i. In place is
 * allowed where hash_stride <= stride: rows are read before what lies at their place is written. */
void corechain_hash_rows(const uint8_t *rows, size_t stride, size_t size, size_t count,
                         uint8_t *hashes, size_t hash_stride, size_t hash_size);

/* The same with 26 bytes. */
void corechain_hash26_rows(const uint8_t *rows, size_t stride, size_t size, size_t count,
                           uint8_t *hashes, size_t hash_stride);

/* The same of packed[offsets[i] .. offsets[i + 1]]; 26 bytes each. `offsets` has count + 1.
 * -1 and nothing hashed where they descend or leave the `length` bytes, else 0. */
int corechain_hash26_slices(const uint8_t *packed, size_t length, const uint32_t *offsets,
                            size_t count, uint8_t *hashes);

#endif
