#ifndef CORECHAIN_ROOTS_H
#define CORECHAIN_ROOTS_H
#include <stddef.h>
#include <stdint.h>

/* Root (26 bytes) of the plain tree over `count` >= 1 leaf hashes of 26 bytes. `work` holds them,
 * with room for one more, and is overwritten. */
void corechain_merkle_root(uint8_t *work, size_t count, uint8_t *root);

/* Root (26 bytes) of the same tree over `count` >= 1 hashes with `depth` levels above them, and the
 * way of each leaf to it: position (4, big-endian), then the `depth` <= 32 siblings from the leaf up.
 * `work` has 26 * (2 * count + 2 * depth + 1) bytes, `tails` count * (4 + 26 * depth). */
void corechain_merkle_paths(const uint8_t *hashes, size_t count, size_t depth, uint8_t *work,
                            uint8_t *tails, uint8_t *root);

/* Root (26 bytes) of the statistics tree over `count` >= 1 sorted leaves of 40 bytes and their
 * hashes of 26. `work` has 42 * (count + 1) bytes. */
void corechain_statistics_root(const uint8_t *leaves, const uint8_t *hashes, size_t count,
                               uint8_t *work, uint8_t *root);

/* Nodes (42 bytes) of the statistics tree over `count` leaves of 40 bytes with these hashes. */
void corechain_leaf_nodes(const uint8_t *leaves, const uint8_t *hashes, size_t count,
                          uint8_t *nodes);

/* The (count + 1) / 2 nodes above `count` >= 1. `below` has room for one more, which is overwritten;
 * `above` may be `below`. */
void corechain_level_above(uint8_t *below, size_t count, uint8_t *above);

/* Numbers of a node, as they lie in it. */
uint64_t corechain_big64(const uint8_t *from);
int32_t corechain_big32(const uint8_t *from);

#endif
