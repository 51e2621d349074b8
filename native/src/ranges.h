#ifndef CORECHAIN_RANGES_H
#define CORECHAIN_RANGES_H
#include <stddef.h>
#include <stdint.h>

/* A range of a batch's leaves with its proof: leaves of 40 bytes and nodes of 42, left to right. The
 * four leaves that are shown have at most one sibling a level each, of 32 levels: 128 nodes. */
typedef struct {
    uint32_t start, end;
    int64_t sum;
    int32_t min, max;
    uint32_t leaf_count, node_count;
    uint8_t root[26];
    uint8_t leaves[160];
    uint8_t nodes[5376];
} corechain_range;

/* The blocks of 64 leaves in which the keys `low` and `high` (35 bytes) lie, or right after which:
 * of `blocks` >= 1, whose first keys are `fences`. */
void corechain_range_edges(const uint8_t *fences, size_t blocks, const uint8_t *low,
                           const uint8_t *high, uint32_t edges[2]);

/* The range of the keys from `low` to `high` in a batch of `count` >= 1 leaves. `kept` are the nodes
 * of its statistics tree from level 6 up, level by level. `numbers` are the `opened` >= 1 blocks whose
 * leaves are `leaves`, ascending; `first` and `last` of them the range's edges. `root` is what the
 * proof leads to: another than the header's where leaves or kept nodes are wrong.
 * 0; -1 where another block must be open, start and end being found; -2 where the lengths or numbers
 * cannot be. */
int corechain_range_proof(const uint8_t *kept, size_t kept_bytes, uint32_t count,
                          const uint32_t *numbers, size_t opened, const uint8_t *leaves,
                          size_t leaves_bytes, const uint8_t *low, const uint8_t *high,
                          uint32_t first, uint32_t last, corechain_range *range);

#endif
